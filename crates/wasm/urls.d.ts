/** Where the two modules lie. */
export const urls: { relaxed: URL; simd: URL }

//! What a decoder holds at most, and what making CLIP's view of a file holds with it, for 12-megapixel files of every
//! kind. One test, because the allocator counts for the whole process. The figures are those of `docs/images.md`.

use cocoop_base::Error;
use cocoop_base::input::image::Limits;
use cocoop_base::input::transform::view_of_file;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the bytes that are allocated, and the most there were.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WIDTH: usize = 4000;
const HEIGHT: usize = 3000;

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../../fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).expect(&path)
}

/// A row of something that neither compresses to nothing nor not at all.
fn row(y: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|x| ((x * y) >> 13) as u8 ^ (x >> 5) as u8).collect()
}

fn png() -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, WIDTH as u32, HEIGHT as u32);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_compression(png::Compression::Fast);
    let data: Vec<u8> = (0..HEIGHT).flat_map(|y| row(y, WIDTH * 4)).collect();
    encoder.write_header().unwrap().write_image_data(&data).unwrap();
    file
}

fn gif() -> Vec<u8> {
    let mut file = Vec::new();
    let palette: Vec<u8> = (0..=255).flat_map(|i: u8| [i, i / 2, 255 - i]).collect();
    let mut encoder = gif::Encoder::new(&mut file, WIDTH as u16, HEIGHT as u16, &palette).unwrap();
    let data: Vec<u8> = (0..HEIGHT).flat_map(|y| row(y, WIDTH)).collect();
    let frame = gif::Frame::from_indexed_pixels(WIDTH as u16, HEIGHT as u16, data, None);
    encoder.write_frame(&frame).unwrap();
    drop(encoder);
    file
}

#[test]
fn a_picture_of_12_megapixels_is_never_held_as_a_whole() {
    let files = [
        ("JPEG, 4:2:0", fixture("preprocess/in/jpeg_12mp_4032x3024.jpg"), 1.0),
        ("JPEG, 4:4:4", fixture("images/in/jpeg_12mp_444.jpg"), 1.0),
        ("JPEG, progressive", fixture("images/in/jpeg_12mp_progressive.jpg"), 1.5),
        ("PNG", png(), 1.5),
        ("GIF", gif(), 0.5),
        ("WebP, lossy", fixture("images/in/webp_12mp.webp"), 22.0), // its planes: 18 MB
    ];
    for (name, file, limit) in files {
        let before = NOW.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let view = view_of_file(&file, &Limits::default(), 224).expect(name);
        let peak = (PEAK.load(Ordering::Relaxed) - before) as f64 / 1e6;
        println!("{name}: {peak:.2} MB");
        assert_eq!(view.len(), 224 * 224 * 3);
        assert!(peak > 0.1 && peak <= limit, "{name}: {peak:.2} MB, at most {limit} MB is stated");
    }

    // What would need more than it may is refused before it is taken.
    let file = fixture("images/in/webp_12mp.webp");
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let limits = Limits { max_memory: 20_000_000, ..Limits::default() };
    let got = view_of_file(&file, &limits, 224);
    assert!(matches!(got, Err(Error::ImageTooLarge { limit: 20_000_000, .. })), "{got:?}");
    assert!(PEAK.load(Ordering::Relaxed) - before < 100_000);
}

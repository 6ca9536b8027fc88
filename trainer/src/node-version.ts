/** Ends the process on a Node.js that is too old. Imported before all else: what follows would fail there with a stack trace. */
const NEEDED = [22, 12] as const

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < NEEDED[0] || (major === NEEDED[0] && minor < NEEDED[1])) {
  const needed = NEEDED.join('.')
  process.stderr.write(
    `error: Node.js ${process.versions.node} is too old\ncode:  bad_node\ndo:    Use Node.js ${needed} or newer; \`npm start\` in the clone gets one.\n`,
  )
  process.exit(1)
}

// Answers for node-semver which of two versions is the newer one, so that a test can ask it for many.
//
// stdin: texts, each ended by a zero byte, two a pair. stdout: a line a pair: what either is (0 a version, 1 one in
// loose mode alone, 2 none) and, unless one is none, which way they stand in loose mode.
const { readFileSync, writeSync } = require('fs')
const semver = require('/usr/share/nodejs/semver')

const reads = (text, loose) => {
  try {
    return Boolean(new semver.SemVer(text, loose))
  } catch {
    return false
  }
}
const standing = (text) => (reads(text, false) ? 0 : reads(text, true) ? 1 : 2)

const texts = readFileSync(0).toString().split('\0')
let lines = ''
for (let i = 0; i + 1 < texts.length; i += 2) {
  const [a, b] = [standing(texts[i]), standing(texts[i + 1])]
  const order = a === 2 || b === 2 ? '-' : ['lt', 'eq', 'gt'][semver.compare(texts[i], texts[i + 1], true) + 1]
  lines += `${a} ${b} ${order}\n`
}
const bytes = Buffer.from(lines)
for (let at = 0; at < bytes.length; at += writeSync(1, bytes, at));

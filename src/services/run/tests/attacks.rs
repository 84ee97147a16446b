//! What a host may write to do harm.

/// SECURITY.md, section 6, "CLI and terminal": what a host may send to take over the terminal of who looks.
pub(in crate::services::run) const ATTACKS: &[&str] = &[
    "\x1b]52;c;cm0gLXJmIC8=\x07",
    "\x1b]52;c;?\x1b\\",
    "\x1bP$qm\x1b\\",
    "\x1b[21t",
    "\x1b[c",
    "\x1b[>c",
    "\x1b[6n",
    "\x1b]0;title\x07",
    "\x1bPq#0;2;0;0;0\x1b\\",
    "\u{9b}21t",
    "\u{9d}52;c;eA==\u{9c}",
    "\x1b[2J\x1b[H✓ web-1 (1)   exit 0",
    "\x1b[1A\x1b[2K✓ web-1 (1)   exit 0",
    "\x1b[?1049h",
    "\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\",
    "txt.\u{202e}exe",
    "ad\u{200b}min",
    "\x1b%@\u{9b}31m",
];

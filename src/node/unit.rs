//! The unit by which systemd starts an agent.

use std::path::Path;

const UNIT: &str = include_str!("muster.service");

/// The unit of an agent whose program is at this path. None for a path that a unit cannot name.
pub fn unit(program: &Path) -> Option<String> {
    let program = program.to_str()?;
    // systemd.service(5): what is special in a command line; a path with none of it needs no quoting.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    (program.starts_with('/') && program.chars().all(plain))
        .then(|| UNIT.replace("ExecStart=MUSTER ", &format!("ExecStart={program} ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_starts_this_program_and_no_path_says_more_than_a_path() {
        let unit = unit(Path::new("/usr/local/bin/muster")).unwrap();
        assert!(unit.contains("\nExecStart=/usr/local/bin/muster agent\n"));
        assert!(!unit.contains("MUSTER"));
        for path in ["muster", "/a b/muster", "/%h/muster", "/a\nExecStartPre=x", "/a\\x20b", "/$HOME/m"] {
            assert_eq!(super::unit(Path::new(path)), None, "{path}");
        }
    }
}

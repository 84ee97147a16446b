//! How each shell asks and is told.
//!
//! A script hands over the words up to the cursor. It gets lines: the first is `:` and what to do beside (`f` and
//! `d`: offer files or directories; `n`: no space after the word), each further one a word, for fish with what it
//! is for behind a tab.

use super::{
    super::arguments::Shell,
    wanted::{Paths, Wanted},
};

const BASH: &str = r#"# muster, for bash: muster completion bash > /etc/bash_completion.d/muster
_muster() {
    local beside= line
    COMPREPLY=()
    {
        IFS= read -r beside
        while IFS= read -r line; do
            COMPREPLY+=("$line")
        done
    } < <("${COMP_WORDS[0]/#\~/$HOME}" __complete bash -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)
    case $beside in
        :f) compopt -o default ;;
        :d) compopt -o dirnames ;;
        :n) compopt -o nospace ;;
    esac 2>/dev/null
}
complete -F _muster muster
"#;

const ZSH: &str = r#"#compdef muster
# muster, for zsh: muster completion zsh > "${fpath[1]}/_muster"
_muster() {
    local -a lines
    local beside
    lines=("${(@f)$("${words[1]/#\~/$HOME}" __complete zsh -- "${(@)words[1,CURRENT]}" 2>/dev/null)}")
    beside=$lines[1]
    shift lines
    case $beside in
        :f) _files ;;
        :d) _files -/ ;;
    esac
    (( $#lines )) || return 1
    case $beside in
        :n) compadd -S '' -- "${(@)lines}" ;;
        *) compadd -- "${(@)lines}" ;;
    esac
}
if [ "$funcstack[1]" = _muster ]; then
    _muster "$@"
else
    compdef _muster muster
fi
"#;

const FISH: &str = r#"# muster, for fish: muster completion fish > ~/.config/fish/completions/muster.fish
function __muster_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines ($words[1] __complete fish -- $words 2>/dev/null)
    switch "$lines[1]"
        case :f
            __fish_complete_path (commandline -ct)
        case :d
            __fish_complete_directories (commandline -ct)
    end
    test (count $lines) -gt 1; and printf '%s\n' $lines[2..-1]
end
complete -c muster -f -a '(__muster_complete)'
"#;

/// The script that makes `shell` ask.
pub(in super::super) fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
    }
}

/// The words as the program would get them, and how many bytes of the last one the shell will not replace.
/// Bash takes `=`, `:` and `@` for words of their own; a quote that is still open is no part of the word.
pub(super) fn joined(shell: Shell, words: &[String]) -> (Vec<String>, usize) {
    let mut joined: Vec<String> = Vec::new();
    let mut glue = false;
    for word in words {
        let breaks = shell == Shell::Bash && !word.is_empty() && word.chars().all(|c| c == '=' || c == ':');
        match joined.last_mut() {
            Some(last) if glue || breaks => last.push_str(word),
            _ => joined.push(word.clone()),
        }
        // The sign of a group begins a word, and never goes on with the one before.
        glue = breaks || (shell == Shell::Bash && word == "@");
    }
    // The cursor may be right behind such a word: then it is not a word of its own that is finished.
    let mut cut = 0;
    if let Some(last) = joined.last_mut() {
        if let Some(rest) = last.strip_prefix(['\'', '"']) {
            *last = rest.to_owned();
        } else if shell == Shell::Bash {
            cut = last.rfind(['=', ':', '@']).map_or(0, |at| at + 1);
        }
    }
    (joined, cut)
}

/// What `shell` is told. `cut`: see [`joined`].
pub(super) fn told(shell: Shell, wanted: &Wanted, cut: usize) -> String {
    let goes_on = |(word, _): &(String, String)| word.ends_with(['=', '.']);
    let beside = match wanted.paths {
        Paths::Files => ":f",
        Paths::Dirs => ":d",
        Paths::None if !wanted.words.is_empty() && wanted.words.iter().all(goes_on) => ":n",
        Paths::None => ":",
    };
    let mut told = format!("{beside}\n");
    for (word, about) in &wanted.words {
        told.push_str(word.get(cut..).unwrap_or_default());
        if shell == Shell::Fish && !about.is_empty() {
            told.push('\t');
            told.push_str(about.lines().next().unwrap_or_default());
        }
        told.push('\n');
    }
    told
}

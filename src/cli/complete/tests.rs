use super::*;
use crate::cli::arguments::Shell;

fn tree() -> clap::Command {
    let mut tree = command();
    tree.build();
    tree
}

fn wanted_at(line: &str) -> Wanted {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    wanted::wanted(&tree(), &words)
}

fn words(line: &str) -> Vec<String> {
    wanted_at(line).words.into_iter().map(|(word, _)| word).collect()
}

/// What is asked for, as `kind:start`.
fn asks(line: &str) -> Vec<String> {
    wanted_at(line).asked.iter().map(|asked| format!("{}:{}", asked.kind, asked.start)).collect()
}

#[test]
fn commands_and_flags_come_from_the_tree_and_hidden_ones_do_not() {
    assert_eq!(words("muster inv"), ["invite", "inventory"]);
    assert_eq!(words("muster host t"), ["tag"]);
    assert_eq!(words("muster __"), [""; 0]);
    assert_eq!(words("muster mesh"), [""; 0]);
    assert_eq!(words("muster run --dr"), ["--dry-run"]);
    assert_eq!(words("muster host ls --out"), ["--output"]);
    assert_eq!(words("muster host ls -o js"), ["json", "jsonl"]);
    assert_eq!(words("muster host ls --output=js"), ["--output=json", "--output=jsonl"]);
    assert_eq!(words("muster -o json host ls"), ["ls"], "a flag's value is no command");
    assert_eq!(words("muster -qo json host l"), ["ls", "lift"]);
    assert_eq!(words("muster man inv"), ["invite", "inventory"]);
    assert_eq!(words("muster schema job-"), ["job-change", "job-event", "job-host"]);
    assert!(words("muster run -- true --dr").is_empty(), "behind -- are the words of another program");
}

#[test]
fn values_are_asked_for_by_what_they_are() {
    assert_eq!(asks("muster host show we"), ["host:we"]);
    assert_eq!(asks("muster host show web-1 "), [""; 0], "one host is shown");
    assert_eq!(asks("muster host ping web-1 d"), ["host:d"]);
    assert_eq!(asks("muster run -H web-1,db"), ["host:db"]);
    assert_eq!(asks("muster run -l ro"), ["tag:ro"]);
    assert_eq!(asks("muster run --label=role=w"), ["tag:role=w"]);
    assert_eq!(asks("muster host tag we"), ["host:we", "tag:we"]);
    assert_eq!(asks("muster host tag web-1 role="), ["tag:role="]);
    assert_eq!(asks("muster host untag we"), ["host:we"]);
    assert_eq!(asks("muster host untag web-1 ro"), ["tag:ro"]);
    assert_eq!(asks("muster job show 7f"), ["job:7f"]);
    assert_eq!(asks("muster inventory show web-1 mo"), ["type:mo"]);
    assert_eq!(asks("muster hosts -t tag.ro"), ["path:tag.ro"]);
    assert_eq!(asks("muster run -t @pr"), ["group:pr"]);
    assert_eq!(asks("muster run -g pr"), ["group:pr"]);
    assert_eq!(asks("muster select @pr"), ["group:pr"]);
    assert_eq!(asks("muster group rm pr"), ["group:pr"]);
    assert_eq!(asks("muster inventory search all --columns tag.role,fa"), ["path:fa"]);
    assert_eq!(wanted_at("muster join --state /va").paths, wanted::Paths::Dirs);
    assert_eq!(wanted_at("muster hosts --socket /ru").paths, wanted::Paths::Files);
    assert_eq!(wanted_at("muster hosts --socket /run/s -o ").socket.as_deref(), Some("/run/s"));
    assert_eq!(wanted_at("muster --state=/s hosts -o ").state.as_deref(), Some("/s"));
}

#[test]
fn a_word_that_a_shell_would_take_for_more_is_not_offered() {
    let mut wanted = wanted_at("muster run -l role=");
    let asked = wanted.asked.remove(0);
    let told = ["role=web", "role=$(reboot)", "role=a b", "role=`x`", "role=x;y", "role=x\ny", "other=1"];
    wanted.take(&asked, told.map(str::to_owned).to_vec());
    assert_eq!(wanted.words, [("role=web".to_owned(), String::new())]);
    let mut group = wanted_at("muster run -t @pr");
    let asked = group.asked.remove(0);
    group.take(&asked, vec!["prod".to_owned()]);
    assert_eq!(group.words[0].0, "@prod", "the word as a whole");
    let mut nodeset = wanted_at("muster run -H web-1,d");
    let asked = nodeset.asked.remove(0);
    nodeset.take(&asked, vec!["db-1".to_owned()]);
    assert_eq!(nodeset.words[0].0, "web-1,db-1", "the word as a whole");
}

#[test]
fn bash_splits_words_at_signs_and_is_told_what_it_replaces() {
    let joined = |shell, words: &[&str]| {
        shell::joined(shell, &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    };
    let line = ["muster", "run", "-l", "role", "=", "we"];
    let (words, cut) = joined(Shell::Bash, &line);
    assert_eq!((words.last().unwrap().as_str(), cut), ("role=we", 5));
    let (words, cut) = joined(Shell::Bash, &line[..5]);
    assert_eq!((words.last().unwrap().as_str(), cut), ("role=", 5));
    assert_eq!(joined(Shell::Fish, &["muster", "run", "-l", "role=we"]).1, 0);
    let (words, _) = joined(Shell::Bash, &["muster", "hosts", "-t", "'tag.ro"]);
    assert_eq!(words.last().unwrap(), "tag.ro");

    let (words, cut) = joined(Shell::Bash, &["muster", "run", "-t", "@", "pr"]);
    assert_eq!((words[2..].join(" ").as_str(), cut), ("-t @pr", 1));
    assert_eq!(joined(Shell::Bash, &["muster", "run", "-t", "@"]).1, 1);

    let mut wanted = Wanted::default();
    wanted.words.push(("role=web".to_owned(), String::new()));
    assert_eq!(shell::told(Shell::Bash, &wanted, 5), ":\nweb\n");
    wanted.words = vec![("role=".to_owned(), String::new())];
    assert_eq!(shell::told(Shell::Zsh, &wanted, 0), ":n\nrole=\n");
    wanted.words = vec![("ls".to_owned(), "List the hosts".to_owned())];
    assert_eq!(shell::told(Shell::Fish, &wanted, 0), ":\nls\tList the hosts\n");
}

#[test]
fn no_line_is_too_odd() {
    for line in [
        "",
        "muster",
        "muster ",
        "muster --",
        "muster -- x",
        "muster -",
        "muster =",
        "muster run -H ,,",
        "muster host tag é=ü ß",
        "muster \u{1b}[2J",
        "muster host nonsense x y z ",
        "muster -o",
        "muster --output= ",
    ] {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let (words, cut) = shell::joined(shell, &words);
            shell::told(shell, &wanted::wanted(&tree(), &words), cut);
        }
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        shell::joined(shell, &[]);
    }
}

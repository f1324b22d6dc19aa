//! `dualstream completions`: a script that completes command lines. In bash, fish and zsh it also completes names of
//! topics, which it asks the server for (`DUALSTREAM_SERVER`).

use crate::{Cli, output};
use clap::CommandFactory;
use clap_complete::Shell;

const BASH: &str = r#"
_dualstream_and_topics() {
    local cur="${COMP_WORDS[COMP_CWORD]}" before=" ${COMP_WORDS[*]:1:COMP_CWORD-1}"
    local wants_topic=' topic (describe|alter|delete|trim)$'
    if [[ "$cur" != -* && "$before" =~ $wants_topic ]]; then
        COMPREPLY=($(compgen -W "$("$1" topic list --names 2>/dev/null)" -- "$cur"))
    else
        _dualstream "$@"
    fi
}
complete -F _dualstream_and_topics -o bashdefault -o default dualstream
"#;

const FISH: &str = r#"
complete -c dualstream -n "__fish_dualstream_using_subcommand topic; and __fish_seen_subcommand_from describe alter delete trim" -f -a "(dualstream topic list --names 2>/dev/null)"
"#;

/// What the script of zsh says of a topic's name, and what it should say.
const ZSH_ARGUMENT: [&str; 2] = [":topic -- Its name:_default", ":topic -- Its name:_dualstream_topics"];
const ZSH: &str = r#"
_dualstream_topics() {
    compadd -- ${(f)"$(dualstream topic list --names 2>/dev/null)"}
}
"#;

/// Prints the script for a shell.
pub fn run(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dualstream", &mut script);
    output::text(&with_topics(shell, String::from_utf8_lossy(&script).into_owned()))?;
    Ok(())
}

fn with_topics(shell: Shell, script: String) -> String {
    match shell {
        Shell::Bash => script + BASH,
        Shell::Fish => script + FISH,
        // Its first line says what it is for, its last ones call it.
        Shell::Zsh => {
            let script = script.replace(ZSH_ARGUMENT[0], ZSH_ARGUMENT[1]);
            script.split_once('\n').map_or(script.clone(), |(first, rest)| format!("{first}\n{ZSH}{rest}"))
        }
        _ => script,
    }
}

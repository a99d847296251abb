"""Shell completion: Typer's, with a script for zsh that also works from a folder of `fpath`.

`_GENOMAI_COMPLETE=source_SHELL genomai` prints the script for bash, zsh or fish; the scripts call the program with
`complete_SHELL` at every TAB, so that they know the models installed at that moment.
"""

from typer._completion_classes import ZshComplete, completion_init

# zsh wants `#compdef` in the first line of a file in fpath, and runs the file in place of the first call.
_ZSH_SCRIPT = """\
#compdef %(prog_name)s

%(complete_func)s() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" %(autocomplete_var)s=complete_zsh %(prog_name)s)
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  %(complete_func)s "$@"
else
  compdef %(complete_func)s %(prog_name)s
fi"""


def prepare() -> None:
    """Let Typer answer the requests of the shells."""
    completion_init()
    ZshComplete.source_template = _ZSH_SCRIPT

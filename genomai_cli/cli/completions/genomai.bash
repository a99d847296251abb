# Completion of genomai for bash, 4 or later.

_genomai_completion() {
    local cur=${COMP_WORDS[COMP_CWORD]} ending IFS=$' \t\n'
    local -a answer=()
    case $cur in
        = | :) cur= ;;
    esac
    mapfile -t answer < <(
        _GENOMAI_COMPLETE=bash _GENOMAI_LINE=${COMP_LINE:0:COMP_POINT} _GENOMAI_WORD=$cur "$1" 2> /dev/null
    )
    COMPREPLY=("${answer[@]:1}")
    COMPREPLY=("${COMPREPLY[@]%%$'\t'*}")
    case ${answer[0]:-none} in
        none) return 0 ;;
        any) mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$cur") ;;
        *)
            mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(
                compgen -d -- "$cur"
                [[ ${answer[0]} == folders ]] && exit
                for ending in ${answer[0]}; do
                    compgen -f -X "!*.$ending" -- "$cur"
                done
            )
            ;;
    esac
    compopt -o filenames 2> /dev/null
    return 0
}

complete -F _genomai_completion genomai

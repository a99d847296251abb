# Completion of genomai for fish, 3.1 or later.

function __genomai_completion
    set -l token (commandline -ct)
    set -l answer (_GENOMAI_COMPLETE=fish _GENOMAI_LINE=(commandline -cp) genomai 2> /dev/null)
    test (count $answer) -gt 1; and printf '%s\n' $answer[2..-1]
    test (count $answer) -gt 0; and test "$answer[1]" != none; or return
    set -l before (string match -r -- '^--[^=]*=' "$token")
    set -l path (string replace -r -- '^--[^=]*=' '' "$token")
    set -l fits "\.("(string escape --style=regex -- "$answer[1]" | string replace -a -- ' ' '|')")"
    switch $answer[1]
        case any
            set fits ''
        case folders
            set fits 'nothing/'
    end
    for found in (__fish_complete_path "$path")
        set -l name (string split -m 1 \t -- $found)[1]
        string match -q -r -- '/$|'"$fits"'$' $name; and echo "$before$found"
    end
end

complete -c genomai -f -a '(__genomai_completion)'

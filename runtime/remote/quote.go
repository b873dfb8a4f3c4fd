package remote

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"infra/runtime"
)

// newline is the shell variable that stands for a newline in quoted text: the
// text travels as one line.
const newline = "__n"

var quoting = strings.NewReplacer("'", `'\''`, "\n", `'"$`+newline+`"'`)

// quote makes s one word of a POSIX shell, on one line. Where s holds a
// newline the shell must have set $__n; see [script].
func quote(s string) string {
	return "'" + quoting.Replace(s) + "'"
}

// script joins statements into one line, led by the definition of $__n where
// a statement needs it.
func script(statements ...string) string {
	line := strings.Join(statements, ";")
	if strings.Contains(line, `"$`+newline+`"`) {
		line = newline + "=$(echo;echo x);" + newline + "=${" + newline + "%x};" + line
	}
	return line
}

// prelude is the statement list that turns a shell into the one that may exec
// "$@": its environment, its folder, its arguments.
func prelude(cmd Command) (string, error) {
	if err := checkCommand(cmd); err != nil {
		return "", err
	}
	var statements []string
	for _, name := range slices.Sorted(maps.Keys(cmd.Env)) {
		statements = append(statements, "export "+name+"="+quote(cmd.Env[name].Reveal()))
	}
	if cmd.Dir != "" {
		statements = append(statements, "CDPATH= cd "+quote(operand(cmd.Dir))+" >/dev/null||exit")
	}
	words := make([]string, len(cmd.Argv))
	for i, arg := range cmd.Argv {
		words[i] = quote(arg)
	}
	return script(append(statements, "set -- "+strings.Join(words, " "))...), nil
}

// operand keeps a path from being read as an option.
func operand(path string) string {
	if strings.HasPrefix(path, "-") {
		return "./" + path
	}
	return path
}

// checkCommand refuses what no process can be given.
func checkCommand(cmd Command) error {
	if len(cmd.Argv) == 0 || cmd.Argv[0] == "" {
		return fmt.Errorf("a command needs a program to run")
	}
	if strings.HasPrefix(cmd.Argv[0], "-") {
		return fmt.Errorf("a program's name cannot begin with a dash: %q", cmd.Argv[0])
	}
	for _, arg := range append([]string{cmd.Dir}, cmd.Argv...) {
		if strings.ContainsRune(arg, 0) {
			return fmt.Errorf("an argument cannot hold a NUL byte: %q", arg)
		}
	}
	for name, value := range cmd.Env {
		if err := checkVariable(name, value); err != nil {
			return err
		}
	}
	return nil
}

// VariableName says whether a shell can be given a variable of this name.
func VariableName(name string) bool {
	for i, r := range name {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

func checkVariable(name string, value runtime.Text) error {
	if !VariableName(name) {
		return fmt.Errorf("%q cannot be the name of an environment variable", name)
	}
	if strings.ContainsRune(value.Reveal(), 0) {
		return fmt.Errorf("the environment variable %s cannot hold a NUL byte", name)
	}
	return nil
}

package remote

import (
	"bytes"
	"strings"
	"testing"

	"infra/runtime"
)

func TestRunArguments(t *testing.T) {
	p := newServer(t).pool(t)
	for _, argv := range [][]string{
		{"plain"}, {"two words", " leading", "trailing "}, {"'", `"`, `'"'"'`, "a'b\"c"}, {"$HOME", "${x}", "$(id)", "`id`"},
		{`\`, `\\`, `\n`, `a\`}, {"new\nline", "\n", "end\n", "\n\n'\n"}, {"", "", ""}, {"-n", "--", "-e"}, {"ünïcödé ☃ 漢字 \x81\x82\xff"},
		{"*", "?", "[a]", "~", "~root", "!!", "#", ";", "&", "|", ">", "<", "(", ")", "{a,b}"}, {"\t\r\x01\x7f\x1b"},
		{strings.Repeat("long ", 20000)}, {"__n", "$__n", "${__n}", `"$__n"`}, {"%s", "%%", "a=b"},
	} {
		out, err := p.Output(inTime(t), target, append([]string{"printf", "<%s>"}, argv...)...)
		want := "<" + strings.Join(argv, "><") + ">"
		if err != nil || out != want {
			t.Errorf("%q: got %.200q, %v", argv, out, err)
		}
	}
}

func TestRunExit(t *testing.T) {
	p := newServer(t).pool(t)
	for script, want := range map[string]Exit{
		"exit 0": {}, "exit 1": {Code: 1}, "exit 7": {Code: 7}, "exit 125": {Code: 125}, "exit 127": {Code: 127}, "exit 255": {Code: 255},
		"kill -TERM $$": {143, "TERM"}, "kill -KILL $$": {137, "KILL"}, "kill -INT $$": {130, "INT"}, "kill -SEGV $$": {139, "SEGV"},
	} {
		var stderr bytes.Buffer
		exit, err := p.Run(inTime(t), target, Command{Argv: []string{"sh", "-c", script}, Stderr: &stderr})
		if err != nil || exit != want || stderr.Len() > 0 {
			t.Errorf("%s: got %v, %v, stderr %q", script, exit, err, &stderr)
		}
	}
}

func TestRunInput(t *testing.T) {
	p := newServer(t).pool(t)
	for _, size := range []int{0, 1, 511, 4096, 65536, 65537, 1 << 20} {
		content := make([]byte, size)
		for i := range content {
			content[i] = byte(i * 7)
		}
		var stdout bytes.Buffer
		exit, err := p.Run(inTime(t), target,
			Command{Argv: []string{"cat"}, Stdin: runtime.PlainText(string(content)), Stdout: &stdout})
		if err != nil || exit.Code != 0 || !bytes.Equal(stdout.Bytes(), content) {
			t.Errorf("%d bytes: got %d back, %v, %v", size, stdout.Len(), exit, err)
		}
	}
}

package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"infra/runtime"
)

func TestNoSecretReachesTheDisk(t *testing.T) {
	const value = "hunter2 \"and\" more"
	secret := runtime.NewSecret("test", value)
	number := runtime.NewSecret("pin", "48151623")
	root := t.TempDir()
	j := open(t, root)
	leak := "it is " + value + "!"
	err := runtime.WithHint(fmt.Errorf("tool said: %s", leak), "try %s", leak)
	quoted, _ := json.Marshal(map[string]any{leak: []any{leak, json.Number("48151623")}})
	first := started("r1", noon)
	first.Start.Plan.Title = leak
	ask, answer := withArgs(asked("r1", "switch", 1), runtime.Args{"a": leak, "n": 48151623}), answered("r1", "switch", 1)
	ask.Op.Op.Show = leak
	answer.Err, answer.Op.Result = err, quoted
	answer.Op.Prediction = &runtime.Prediction{Detail: leak}
	last := ended("r1", noon, runtime.Failed)
	last.Err = err
	record(t, j, first, ask, answer,
		runtime.Event{Kind: runtime.Logged, Run: "r1", Time: noon, Text: leak},
		runtime.Event{Kind: runtime.StepRetried, Run: "r1", Step: "switch", Host: "blackphos", Time: noon, Err: err},
		runtime.Event{Kind: runtime.StepEnded, Run: "r1", Step: "switch", Host: "blackphos", Text: leak, Err: err, Result: quoted}, last)

	run, err := read(t, root).Run("r1")
	if err != nil || !strings.Contains(run.Err, secret.String()) {
		t.Errorf("got %q, %v; want the placeholder in it", run.Err, err)
	}
	for _, raw := range []json.RawMessage{run.Steps[0].Result, run.Steps[0].Ops[0].Args, run.Steps[0].Ops[0].Result} {
		if !json.Valid(raw) || !strings.Contains(string(raw), number.String()) {
			t.Errorf("%s is not the scrubbed value", raw)
		}
	}
	if n := grep(t, filepath.Join(root, ".infra"), "tool said", "hunter2", "48151623"); n[0] == 0 || n[1]+n[2] > 0 {
		t.Errorf("%d files hold the text, %d and %d the secrets", n[0], n[1], n[2])
	}
}

// grep counts the files below dir that hold each of the texts.
func grep(t *testing.T, dir string, texts ...string) []int {
	t.Helper()
	found := make([]int, len(texts))
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for i, text := range texts {
			if bytes.Contains(data, []byte(text)) {
				found[i]++
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

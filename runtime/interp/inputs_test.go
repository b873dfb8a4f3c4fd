package interp

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"infra/runtime"
)

// TestInputs: whether the files are at fault or not, all that were asked for are
// told, and what was read of them.
func TestInputs(t *testing.T) {
	t.Parallel()
	const lib, good = "a = 1\r\nb = 2\r\n", "load(\"lib.star\", \"a\")\ndef one(): pass\np = plan(steps = [step(one)])\n"
	in := newInterp(t, map[string]string{
		"lib.star": lib, "good.star": good, "broken.star": "load(\"lib.star\", \"a\")\nx = (\n", "unplanned.star": "x = 1",
		"ring.star": "load(\"round.star\", \"x\")", "round.star": "load(\"ring.star\", \"x\")",
		"lacks.star": "load(\"//new/x.star\", \"x\")\nload(\"lib.star\", \"a\")\nload(\"out.star\", \"y\")\nload(\"../up.star\", \"z\")",
		"fails.star": "x = 1 // 0", "folder.star/x": "",
	})
	for link, to := range map[string]string{"linked.star": "good.star", "out.star": "/etc/hostname", "hanging.star": "nowhere.star"} {
		if err := os.Symlink(to, filepath.Join(in.root, link)); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string) Input {
		data, err := os.ReadFile(filepath.Join(in.root, name))
		if err != nil {
			t.Fatal(err)
		}
		return Input{Path: name, SHA256: fmt.Sprintf("%x", sha256.Sum256(data))}
	}
	for main, want := range map[string][]Input{
		"good.star":      {file("good.star"), file("lib.star")},
		"linked.star":    {file("lib.star"), file("linked.star")},
		"broken.star":    {file("broken.star"), file("lib.star")},
		"unplanned.star": {file("unplanned.star")},
		"ring.star":      {file("ring.star"), file("round.star")},
		"lacks.star":     {file("lacks.star"), file("lib.star"), {Path: "new/x.star", Missing: true}, {Path: "out.star"}},
		"fails.star":     {file("fails.star")},
		"none.star":      {{Path: "none.star", Missing: true}},
		"hanging.star":   {{Path: "hanging.star", Missing: true}},
		"folder.star":    {{Path: "folder.star"}},
		"../else.star":   nil,
	} {
		f, got, err := in.PreviewFrom(t.Context(), filepath.Join(in.root, main))
		if !slices.Equal(got, want) {
			t.Errorf("%s: got  %+v\nwant %+v", main, got, want)
		}
		if well := main == "good.star" || main == "linked.star"; well != (err == nil) || well != (f != nil) {
			t.Errorf("%s: %v and %v", main, f, err)
			continue
		}
		if f == nil {
			continue
		}
		var sources []runtime.Source
		for _, i := range want {
			sources = append(sources, runtime.Source{Path: i.Path, SHA256: i.SHA256})
		}
		if !f.Preview || !slices.Equal(f.Sources(), sources) {
			t.Errorf("%s: its sources are %v", main, f.Sources())
		}
	}
}

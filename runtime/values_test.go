package runtime

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "2m": 2 * time.Minute, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "6w": 6 * 168 * time.Hour, "0s": 0,
	} {
		if got, err := ParseDuration(s); err != nil || got != want {
			t.Errorf("%s is %s: %v", s, got, err)
		}
	}
	for _, s := range []string{"", "soon", "5", "-1s", "1.5d", "d", "99999999w"} {
		if d, err := ParseDuration(s); err == nil {
			t.Errorf("%q is %s", s, d)
		}
	}
}

func TestARecordsUnknownFieldStaysUnknown(t *testing.T) {
	file := "a.star"
	u := Unknown{Op: "ssh.run", Pos: syntax.MakePosition(&file, 3, 1), Shape: StringShape}
	r := CommandResult(u, starlark.String(""), starlark.MakeInt(0), starlark.True)
	if v, err := r.Attr("stdout"); v != u || err != nil {
		t.Errorf("stdout is %v: %v", v, err)
	}
	for method, shape := range map[string]*Shape{"json": PlainData, "lines": StringsShape} {
		fn, err := r.Attr(method)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := starlark.Call(new(starlark.Thread), fn, nil, nil); v != u.As(shape) || err != nil {
			t.Errorf("%s is %v: %v", method, v, err)
		}
	}
	if v, err := r.Attr("code"); err != nil || v.String() != "0" {
		t.Errorf("code is %v: %v", v, err)
	}
	if v, err := r.Attr("stduot"); v != nil || err != nil {
		t.Errorf("a misspelt field is %v: %v", v, err)
	}
}

func TestACommandResultParsesItsOutput(t *testing.T) {
	r := CommandResult(starlark.String("{\"a\": [1]}\n"), starlark.String(""), starlark.MakeInt(0), starlark.False)
	for method, want := range map[string]string{"json": `{"a": [1]}`, "lines": `["{\"a\": [1]}"]`} {
		fn, _ := r.Attr(method)
		v, err := starlark.Call(new(starlark.Thread), fn, nil, nil)
		if err != nil || v.String() != want {
			t.Errorf("%s is %v: %v", method, v, err)
		}
	}
}

func TestHintsSurviveWrapping(t *testing.T) {
	err := fmt.Errorf("outer: %w", WithHint(ErrHeld, "do %s", "this"))
	if HintOf(err) != "do this" || !errors.Is(err, ErrHeld) || err.Error() != "outer: held" {
		t.Errorf("%v, hint %q", err, HintOf(err))
	}
}

func TestProblemsAreSortedAndShownOnce(t *testing.T) {
	r, file := new(Reading), "a.star"
	for _, line := range []int32{3, 1, 3} {
		r.Report(syntax.MakePosition(&file, line, 1), "", "wrong")
	}
	if got := r.Problems().Error(); got != "a.star:1:1: wrong\na.star:3:1: wrong" {
		t.Errorf("got %q", got)
	}
}

func TestHostsAndStorePaths(t *testing.T) {
	mac := &Host{Name: "m", System: "aarch64-darwin"}
	same := &Host{Name: "m", System: "x86_64-linux"}
	if eq, err := starlark.Equal(mac, same); err != nil || !eq {
		t.Error("hosts are the same by name", err)
	}
	if mac.Kind() != Darwin || same.Kind() != NixOS {
		t.Error(mac.Kind(), same.Kind())
	}
	p := &StorePath{Path: "/nix/store/abc-nixos-system-x-25.11"}
	if p.Name() != "nixos-system-x-25.11" || fmt.Sprint(p) != p.Path {
		t.Error(p.Name(), p)
	}
	if _, err := starlark.Compare(syntax.LT, p, p); err == nil {
		t.Error("store paths were ordered")
	}
}

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"infra/builtins"
)

// TestEveryBuiltinIsDocumented fails for a builtin that lacks a part.
func TestEveryBuiltinIsDocumented(t *testing.T) {
	for _, s := range specs() {
		if s.Doc == "" || s.Example == "" || !strings.HasSuffix(s.Doc, ".") {
			t.Errorf("%s lacks its documentation or its example", s.Name)
		}
		for _, p := range s.Params {
			if p.Name == "" || p.Doc == "" || p.Type == "" {
				t.Errorf("%s: parameter %q lacks its documentation or its type", s.Name, p.Name)
			}
		}
		for _, f := range s.Fields {
			if f.Name == "" || f.Doc == "" || f.Type == "" {
				t.Errorf("%s: field %q lacks its documentation or its type", s.Name, f.Name)
			}
		}
		if len(s.Fields) > 0 && s.Returns == "" {
			t.Errorf("%s has fields of nothing", s.Name)
		}
	}
}

// TestTheReferenceIsUpToDate compares docs/builtins.md to what the builtins say
// of themselves. UPDATE=1 rewrites it.
func TestTheReferenceIsUpToDate(t *testing.T) {
	const path = "../../docs/builtins.md"
	want := reference(specs())
	if os.Getenv("UPDATE") != "" {
		if err := os.MkdirAll("../../docs", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("docs/builtins.md is not what the builtins say; UPDATE=1 go test ./cmd/infra rewrites it: %v", err)
	}
}

func reference(specs []builtins.Spec) string {
	var b strings.Builder
	b.WriteString("# What plans can say\n\nThis page is made from the builtins themselves; `infra doc NAME` prints the same.\n" +
		"Beside them there are `struct`, and Starlark's `json`, `time` and `math`.\n")
	for _, s := range specs {
		fmt.Fprintf(&b, "\n## %s\n\n```text\n%s```\n", s.Name, s.Manual())
	}
	return b.String()
}

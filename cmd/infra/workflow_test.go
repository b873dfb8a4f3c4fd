package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type workflow struct {
	On   yaml.Node
	Jobs map[string]struct {
		RunsOn string `yaml:"runs-on"`
		Steps  []struct {
			Name, Uses, Run string
		}
	}
}

// TestTheWorkflows reads the workflow of this repository and the one that
// docs/ci.md shows: both are YAML, and use flags that there are.
func TestTheWorkflows(t *testing.T) {
	own, err := os.ReadFile("../../.github/workflows/plans.yml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/ci.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	shown, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("docs/ci.md shows no workflow")
	}
	for name, text := range map[string]string{"plans.yml": string(own), "docs/ci.md": shown} {
		var w workflow
		if err := yaml.Unmarshal([]byte(text), &w); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if w.On.IsZero() || len(w.Jobs) == 0 {
			t.Errorf("%s has no job, or nothing that starts it", name)
		}
		used := 0
		for _, job := range w.Jobs {
			if job.RunsOn == "" || len(job.Steps) == 0 {
				t.Errorf("%s: a job without steps, or that runs nowhere", name)
			}
			for _, s := range job.Steps {
				if (s.Uses == "") == (s.Run == "") {
					t.Errorf("%s: step %q runs nothing, or two things", name, s.Name)
				}
				used += flagsOf(t, name, s.Run)
			}
		}
		if used < 3 {
			t.Errorf("%s uses %d flags of infra run", name, used)
		}
	}
	for _, flag := range regexp.MustCompile("`--([a-z-]+)").FindAllStringSubmatch(string(page), -1) {
		if newRun(&app{}).Flags().Lookup(flag[1]) == nil {
			t.Errorf("docs/ci.md speaks of --%s, which infra run does not have", flag[1])
		}
	}
}

// flagsOf counts the flags that a script gives to infra run, which must exist.
func flagsOf(t *testing.T, where, script string) int {
	t.Helper()
	flags, n := newRun(&app{}).Flags(), 0
	for _, line := range strings.Split(strings.ReplaceAll(script, "\\\n", " "), "\n") {
		_, args, runs := strings.Cut(line, "infra run ")
		if !runs {
			_, args, runs = strings.Cut(line, "examples/lab run ")
		}
		if !runs {
			continue
		}
		for _, m := range regexp.MustCompile(`(?:^| )--([a-z-]+)`).FindAllStringSubmatch(args, -1) {
			n++
			if flags.Lookup(m[1]) == nil {
				t.Errorf("%s: infra run has no --%s", where, m[1])
			}
		}
	}
	return n
}

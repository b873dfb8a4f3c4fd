package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWantsColor(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, tt := range []struct {
		name  string
		out   *os.File
		env   map[string]string
		color bool
		tree  bool
	}{
		{"terminal", terminal, nil, true, true},
		{"file", file, nil, false, false},
		{"NO_COLOR", terminal, map[string]string{"NO_COLOR": "1"}, false, true},
		{"dumb", terminal, map[string]string{"TERM": "dumb"}, false, false},
		{"forced file", file, map[string]string{"CLICOLOR_FORCE": "1"}, true, false},
		{"forced and NO_COLOR", file, map[string]string{"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, true, false},
		{"forced off", file, map[string]string{"CLICOLOR_FORCE": "0"}, false, false},
	} {
		getenv := func(name string) string { return tt.env[name] }
		if got := wantsColor(tt.out, getenv); got != tt.color {
			t.Errorf("%s: colour %v, want %v", tt.name, got, tt.color)
		}
		if _, got := newPeopleReader(tt.out, getenv, false).(*tree); got != tt.tree {
			t.Errorf("%s: a tree %v, want %v", tt.name, got, tt.tree)
		}
	}
}

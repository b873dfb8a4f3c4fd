package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const verifyExamples = "../../examples/verify/"

// accepts says whether infra takes the arguments, without doing anything.
func accepts(t *testing.T, args []string) {
	t.Helper()
	c, rest, err := newRoot(&app{stdin: strings.NewReader(""), stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}).Find(args)
	if err == nil {
		err = c.ParseFlags(rest)
	}
	if err != nil || c.Name() != "verify" || len(c.Flags().Args()) > 0 {
		t.Errorf("infra %q: %s, %v", args, c.Name(), err)
	}
}

// TestTheUnitsOfSystemdAreRight has systemd read them, with this program in place of
// the one that they name.
func TestTheUnitsOfSystemdAreRight(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(verifyExamples + "*.[st]*[er]")
	if err != nil || len(paths) != 3 {
		t.Fatalf("%q, %v", paths, err)
	}
	dir, line := t.TempDir(), regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/infra (.*)$`)
	for i, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if m := line.FindSubmatch(text); m != nil {
			accepts(t, strings.Fields(string(m[1])))
		} else if filepath.Ext(path) == ".service" {
			t.Errorf("%s does not start infra", path)
		}
		paths[i] = filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(paths[i], line.ReplaceAll(text, []byte("ExecStart="+program+" $1")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	cmd := exec.Command("systemd-analyze", append([]string{"--user", "--man=no", "verify"}, paths...)...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "infra-verify") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestThePropertyListIsRight reads what launchd would: pairs of a key and a value.
func TestThePropertyListIsRight(t *testing.T) {
	t.Parallel()
	f, err := os.Open(verifyExamples + "org.example.infra-verify.plist")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	values, err := plistOf(xml.NewDecoder(f))
	if err != nil {
		t.Fatal(err)
	}
	args := values["ProgramArguments"]
	if len(args) < 2 || args[0] != "/usr/local/bin/infra" {
		t.Fatalf("it starts %q", args)
	}
	accepts(t, args[1:])
	if label := values["Label"]; !slices.Equal(label, []string{"org.example.infra-verify"}) {
		t.Errorf("it is called %q, and its file otherwise", label)
	}
	for _, key := range []string{"WorkingDirectory", "RunAtLoad", "KeepAlive", "StandardOutPath"} {
		if _, there := values[key]; !there {
			t.Errorf("it lacks %s", key)
		}
	}
}

// plistOf returns the texts under each key of a property list's own dict. Each key has
// one value, in an inner dict too.
func plistOf(d *xml.Decoder) (map[string][]string, error) {
	values, depth, key, waits, text := map[string][]string{}, 0, "", map[int]bool{}, ""
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return values, nil
		}
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			depth++
			text = ""
			if token.Name.Local == "key" {
				if waits[depth] {
					return nil, errors.New("a key without a value before " + key)
				}
				continue
			}
			if waits[depth] && depth == 3 {
				values[key] = []string{}
			}
			waits[depth] = false
		case xml.CharData:
			text += string(token)
		case xml.EndElement:
			switch name := token.Name.Local; {
			case name == "key":
				waits[depth] = true
				if depth == 3 {
					key = text
				}
			case name == "string":
				values[key] = append(values[key], text)
			}
			depth--
		}
	}
}

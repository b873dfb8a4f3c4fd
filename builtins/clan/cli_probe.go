package clan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

// probeTime is how long clan may take to print a help text. Its first start
// compiles it.
const probeTime = time.Minute

// probesKept bounds the cache: one small file for each leaf of each clan.
const probesKept = 64

// flags returns the flags that the installed clan's leaf knows, asked once for
// each clan.
func (d driver) flags(ctx context.Context, l leaf) (map[string]bool, error) {
	path, err := exec.LookPath("clan")
	if err != nil {
		return nil, runtime.WithHint(fmt.Errorf("clan is not installed (not on PATH): %w", exec.ErrNotFound),
			"nix shell git+https://git.clan.lol/clan/clan-core#clan-cli, or a devshell that has it")
	}
	file, err := d.probeFile(path, l)
	if err != nil {
		return nil, err
	}
	if known, ok := readProbe(file); ok {
		return known, nil
	}
	var out command.Output
	argv := append(append([]string{path}, strings.Fields(string(l))...), "--help")
	err = command.Within(ctx, probeTime, func(ctx context.Context) (err error) {
		out, err = command.Run(ctx, remote.Run, remote.Command{Argv: argv, Dir: d.dir, Env: environment()}, io.Discard)
		return err
	})
	if err == nil {
		err = out.Err("clan " + string(l) + " --help")
	}
	if err != nil {
		return nil, fmt.Errorf("asking clan for its flags: %w", err)
	}
	known := flagsIn(out.Stdout)
	writeProbe(file, known)
	return known, nil
}

// environment makes clan leave git to us, and its output plain.
func environment() map[string]runtime.Text {
	env := map[string]runtime.Text{}
	for name, value := range map[string]string{"CLAN_NO_COMMIT": "1", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200", "GIT_TERMINAL_PROMPT": "0"} {
		env[name] = runtime.PlainText(value)
	}
	return env
}

// flagsIn finds the flags that a help text of argparse's describes: a word
// with dashes where a line begins, or behind another one.
func flagsIn(help string) map[string]bool {
	known := map[string]bool{}
	for line := range strings.Lines(help) {
		described := strings.TrimLeft(line, " ")
		if described == line || !strings.HasPrefix(described, "-") {
			continue
		}
		described, _, _ = strings.Cut(described, "   ")
		for _, m := range flagWord.FindAllStringSubmatch(described, -1) {
			known[m[1]] = true
		}
	}
	return known
}

var flagWord = regexp.MustCompile(`(?:^|[ ,|])(--[a-z][a-z0-9_-]*|-[a-zA-Z])(?:[ ,=|\n]|$)`)

// probeFile is where the flags of a leaf are kept. A path of the store names
// its clan; anywhere else the program's content does.
func (d driver) probeFile(path string, l leaf) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("find clan: %w", err)
	}
	identity := real
	if !strings.HasPrefix(real, "/nix/store/") {
		if identity, err = digestOf(real); err != nil {
			return "", fmt.Errorf("read clan: %w", err)
		}
	}
	if d.cache == "" {
		return "", nil
	}
	name := sha256.Sum256([]byte(identity + "\x00" + string(l)))
	return filepath.Join(d.cache, hex.EncodeToString(name[:16])+".json"), nil
}

// digestOf is a digest of a file's content.
func digestOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// readProbe takes a file that cannot be read, or is damaged, for none.
func readProbe(file string) (map[string]bool, bool) {
	data, err := os.ReadFile(file)
	var list []string
	if err != nil || json.Unmarshal(data, &list) != nil || len(list) == 0 {
		return nil, false
	}
	known := map[string]bool{}
	for _, f := range list {
		known[f] = true
	}
	return known, true
}

// writeProbe replaces the file as a whole. What cannot be kept is asked again.
func writeProbe(file string, known map[string]bool) {
	if file == "" || len(known) == 0 {
		return
	}
	var list []string
	for f := range known {
		list = append(list, f)
	}
	slices.Sort(list)
	data, err := json.Marshal(list)
	if err != nil {
		return
	}
	if keep(file, data) == nil {
		trimProbes(filepath.Dir(file))
	}
}

// trimProbes removes the oldest files beyond [probesKept].
func trimProbes(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= probesKept {
		return
	}
	age := map[string]time.Time{}
	var names []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue
		}
		age[e.Name()] = info.ModTime()
		names = append(names, e.Name())
	}
	slices.SortFunc(names, func(a, b string) int { return age[b].Compare(age[a]) })
	for _, name := range names[min(len(names), probesKept):] {
		os.Remove(filepath.Join(dir, name))
	}
}

package terraform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"infra/runtime"
)

// A scratch is a folder that nobody else can look into, for as long as one
// command of terraform runs: its output, its plan, the pipe with its variables.
type scratch struct {
	dir            string
	stdout, stderr *os.File
}

const scratchPrefix = "infra-terraform-"

// memory is where files never reach a disk, on Linux.
const memory = "/dev/shm"

func newScratch() (*scratch, error) {
	dir, err := os.MkdirTemp(memory, scratchPrefix)
	if err != nil {
		dir, err = os.MkdirTemp("", scratchPrefix)
	}
	if err != nil {
		return nil, err
	}
	s := &scratch{dir: dir}
	s.stdout, err = os.OpenFile(filepath.Join(dir, "stdout"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		s.stderr, err = os.OpenFile(filepath.Join(dir, "stderr"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *scratch) close() {
	for _, f := range []*os.File{s.stdout, s.stderr} {
		if f != nil {
			_ = f.Close()
		}
	}
	_ = os.RemoveAll(s.dir)
}

func (s *scratch) planPath() string    { return filepath.Join(s.dir, "plan") }
func (s *scratch) varsPath() string    { return filepath.Join(s.dir, "vars.tfvars.json") }
func (s *scratch) backendPath() string { return filepath.Join(s.dir, "backend.json") }

// pipeVars makes the pipe from which terraform reads the variables, once. The
// function that it returns must be called when terraform has ended.
func (s *scratch) pipeVars(vars map[string]runtime.Text) (done func(), err error) {
	if err := unix.Mkfifo(s.varsPath(), 0o600); err != nil {
		return nil, fmt.Errorf("making a pipe for the variables: %w", err)
	}
	text := varsJSON(vars)
	served := make(chan struct{})
	go func() {
		defer close(served)
		w, err := os.OpenFile(s.varsPath(), os.O_WRONLY, 0) // until somebody reads
		if err != nil {
			return
		}
		defer w.Close()
		_ = os.Remove(s.varsPath()) // nobody would write for a second reader
		_, _ = w.Write(text)
	}()
	return func() { s.unblock(served) }, nil
}

// unblock ends a writer of variables whom nobody read.
func (s *scratch) unblock(served <-chan struct{}) {
	select {
	case <-served:
		return
	default:
	}
	r, err := os.OpenFile(s.varsPath(), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		defer r.Close()
		go func() { _, _ = io.Copy(io.Discard, r) }()
	}
	<-served
}

func varsJSON(vars map[string]runtime.Text) []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(vars)) {
		if i > 0 {
			b.WriteByte(',')
		}
		quoted, _ := json.Marshal(name)
		b.Write(quoted)
		b.WriteByte(':')
		b.WriteString(vars[name].Reveal())
	}
	b.WriteByte('}')
	return b.Bytes()
}

// pollEvery is how often the files that terraform writes into are looked at. A
// pipe would need no looking, but it would hold back what terraform has begun
// for as long as anything that it started lives, and end it if infra ended.
const pollEvery = 50 * time.Millisecond

// follow hands each line that is added to the two files to the functions, one
// at a time, until over is closed and all is read. A last line without an end
// is one too.
func (s *scratch) follow(over <-chan struct{}, stdout, stderr func(line []byte)) error {
	files := []*tail{{each: stdout}, {each: stderr}}
	for i, name := range []string{"stdout", "stderr"} {
		f, err := os.Open(filepath.Join(s.dir, name))
		if err != nil {
			return err
		}
		defer f.Close()
		files[i].file = f
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for ended := false; ; {
		for _, f := range files {
			if err := f.read(ended); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
		select {
		case <-over:
			ended = true
		case <-tick.C:
		}
	}
}

// A tail is a file that grows.
type tail struct {
	file    io.Reader
	each    func(line []byte)
	pending []byte
}

// read reads what was added.
func (t *tail) read(last bool) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := t.file.Read(buf)
		t.take(buf[:n])
		if err == io.EOF || (err == nil && n == 0) {
			break
		}
		if err != nil {
			return err
		}
	}
	if last && len(t.pending) > 0 {
		t.each(t.pending)
		t.pending = nil
	}
	return nil
}

func (t *tail) take(added []byte) {
	for {
		end := bytes.IndexByte(added, '\n')
		if end < 0 {
			t.pending = append(t.pending, added...)
			return
		}
		t.pending = append(t.pending, added[:end]...)
		t.each(t.pending)
		t.pending = t.pending[:0]
		added = added[end+1:]
	}
}

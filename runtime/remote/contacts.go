package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/crypto/ssh"

	"infra/runtime"
)

// contacts are the hosts that are trusted by what they showed when they were
// first reached. They are kept in a file of the project, in the form of
// known_hosts: a line is a host, its key, and the instance that showed it.
// Nothing is ever taken out of it.
type contacts struct {
	file   string // "": they are kept in memory
	lookOn bool   // what is new is kept in memory: a preview writes nothing

	mu    sync.Mutex
	fresh []contact // in memory
}

// A contact is a host that was reached.
type contact struct {
	host, instance string
	key            ssh.PublicKey
	since          time.Time
	file           string
	line           int // 0: in memory
}

func (c contact) place() string {
	if c.line == 0 {
		return "what this process saw first"
	}
	return fmt.Sprintf("%s, line %d", c.file, c.line)
}

// of returns what is recorded for an instance of a host, and for the instance
// of it that was reached last.
func (c *contacts) of(host, instance string) (recorded, last *contact, err error) {
	all, err := c.read()
	if err != nil {
		return nil, nil, err
	}
	for i, k := range all {
		if k.host != host {
			continue
		}
		last = &all[i]
		if k.instance == instance {
			recorded = &all[i]
		}
	}
	return recorded, last, nil
}

// read returns all in the order in which they were made. A line that cannot be
// read is an error: without it, its host would be trusted anew.
func (c *contacts) read() ([]contact, error) {
	c.mu.Lock()
	fresh := append([]contact(nil), c.fresh...)
	c.mu.Unlock()
	if c.file == "" {
		return fresh, nil
	}
	text, err := os.ReadFile(c.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the hosts that are trusted on first use: %w", err)
	}
	all, err := parseContacts(c.file, string(text))
	return append(all, fresh...), err
}

func parseContacts(file, text string) ([]contact, error) {
	var all []contact
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := parseContact(line)
		if err != nil {
			return nil, runtime.WithHint(fmt.Errorf("%s, line %d, %w", file, n, err),
				"mend the line, or take it out: the host that it is of is then trusted anew")
		}
		k.file, k.line = file, n
		all = append(all, k)
	}
	return all, nil
}

// Words of a line behind the key.
const (
	instanceWord = "instance="
	sinceWord    = "since="
)

func parseContact(line string) (contact, error) {
	host, rest, _ := strings.Cut(line, " ")
	name, err := url.PathUnescape(host)
	if err != nil || name == "" {
		return contact{}, errors.New("names no host")
	}
	key, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(rest))
	if err != nil || len(options) > 0 {
		return contact{}, errors.New("holds no public key")
	}
	k := contact{host: name, key: key}
	for _, word := range strings.Fields(comment) {
		if value, ok := strings.CutPrefix(word, instanceWord); ok {
			if k.instance, err = url.QueryUnescape(value); err != nil {
				return contact{}, errors.New("names no instance")
			}
		}
		if value, ok := strings.CutPrefix(word, sinceWord); ok {
			k.since, _ = time.Parse(time.RFC3339, value) // for people
		}
	}
	return k, nil
}

func (c contact) String() string {
	return url.PathEscape(c.host) + " " + authorizedKey(c.key) + " " +
		instanceWord + url.QueryEscape(c.instance) + " " + sinceWord + c.since.UTC().Format(time.RFC3339)
}

// record keeps a host's key and returns k, unless somebody else has recorded
// one in the meantime: then that. last is the contact of before.
func (c *contacts) record(k *contact) (recorded, last *contact, err error) {
	if c.file == "" || c.lookOn {
		return c.remember(k)
	}
	unlock, err := c.lock()
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	recorded, last, err = c.of(k.host, k.instance)
	if err != nil || recorded != nil {
		return recorded, last, err
	}
	text, err := os.ReadFile(c.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("reading the hosts that are trusted on first use: %w", err)
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	if err := replaceFile(c.file, append(text, k.String()+"\n"...)); err != nil {
		return nil, nil, fmt.Errorf("recording the key of %s: %w", k.host, err)
	}
	k.file, k.line = c.file, strings.Count(string(text), "\n")+1
	return k, last, nil
}

// remember is record without a file.
func (c *contacts) remember(k *contact) (recorded, last *contact, err error) {
	recorded, last, err = c.of(k.host, k.instance)
	if err != nil || recorded != nil {
		return recorded, last, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.fresh {
		if f := c.fresh[i]; f.host == k.host && f.instance == k.instance {
			return &f, last, nil
		}
	}
	c.fresh = append(c.fresh, *k)
	return k, last, nil
}

// recordPatience is how long another process may take to record a key.
const recordPatience = 10 * time.Second

// lock keeps other processes from recording. Its file stays: taken away, two
// could each hold a file of its name.
func (c *contacts) lock() (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(c.file), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of %s: %w", c.file, err)
	}
	l := flock.New(c.file+".lock", flock.SetPermissions(0o600))
	ctx, cancel := context.WithTimeout(context.Background(), recordPatience)
	defer cancel()
	if ok, err := l.TryLockContext(ctx, 10*time.Millisecond); !ok {
		return nil, fmt.Errorf("lock %s: %w", c.file, err)
	}
	return func() { _ = l.Close() }, nil
}

// replaceFile writes a file that only its owner reads, whole or not at all.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error is the writing's
	}
	return err
}

package remote

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// classAge bounds how long ssh's answer counts for other destinations: a file may
// come into being that nobody knew to look at.
const classAge = 5 * time.Second

// classes saves asking ssh for each of many hosts. Destinations of which the same
// Host lines are true, in all files that ssh has read, are a class: ssh takes the
// same way through these files for all of them, and its answers differ in their
// names only. Whatever can tell them apart otherwise has each of them asked for.
type classes struct {
	mu    sync.Mutex
	age   time.Duration // classAge where it is 0
	off   bool          // the configuration can tell any two apart
	since time.Time
	texts []*stampedText
	said  map[string]*answer // by text, login and class
}

// A stampedText is that of some files, as long as these are what they were.
type stampedText struct {
	configText
	files []string
	stamp string
}

// A plainDestination is one that may be of a class with others.
type plainDestination struct {
	destination string
	name        string
	login       string // its user and port
}

var (
	className = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,252}$`)
	classUser = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
)

func parsePlain(destination string) (d plainDestination, ok bool) {
	name, options, err := splitDestination(destination)
	if err != nil || !className.MatchString(name) {
		return d, false
	}
	d = plainDestination{destination: destination, name: name}
	for _, keyword := range slices.Sorted(maps.Keys(options)) {
		if value := options[keyword][0]; keyword == "port" || keyword == "user" && classUser.MatchString(value) {
			d.login += keyword + " " + value + "\x00"
			continue
		}
		return d, false
	}
	return d, true
}

// ask looks a destination up: by what ssh said of another one of its class, or
// by ssh. The first of all goes alone, then the first of each class; where they
// are of no help, all others ask side by side.
func (p *Pool) ask(destination string) (*Endpoint, error) {
	d, ok := parsePlain(destination)
	for round := 0; ok; round++ {
		said, class, ok := p.classes.find(d)
		if !ok {
			break
		}
		if said != nil {
			if options, ok := said.of(d); ok {
				return newEndpoint(destination, options, p.config)
			}
			break
		}
		if round == 2 {
			return p.classes.learn(p.ctx, p.config, d)
		}
		type first struct {
			destination string
			endpoint    *Endpoint
			err         error
		}
		f, err := flight(p.ctx, p, "class "+class, func() (first, error) {
			e, err := p.classes.learn(p.ctx, p.config, d)
			return first{destination, e, err}, nil
		})
		if err != nil {
			return nil, err
		}
		if f.destination == destination {
			return f.endpoint, f.err
		}
	}
	return lookUp(p.ctx, p.config, destination)
}

// find returns what ssh said of d's class, or nil and the class; "" where none
// is known. It says no where there are no classes.
func (c *classes) find(d plainDestination) (said *answer, class string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		return nil, "", false
	}
	if len(c.texts) > 0 && !c.hold() {
		c.texts, c.said = nil, nil
	}
	for _, t := range c.texts {
		class = t.stamp + d.login + t.class(d.name)
		if said := c.said[class]; said != nil {
			return said, class, true
		}
	}
	return nil, class, true
}

// hold says whether the files are those that ssh has read.
func (c *classes) hold() bool {
	if time.Since(c.since) > cmp.Or(c.age, classAge) {
		return false
	}
	return !slices.ContainsFunc(c.texts, func(t *stampedText) bool {
		stamp, ok := stampOf(t.files, c.since)
		return !ok || stamp != t.stamp
	})
}

// learn asks ssh for d, and keeps the answer for others.
func (c *classes) learn(ctx context.Context, config Config, d plainDestination) (*Endpoint, error) {
	if _, err := exec.LookPath("ssh"); err != nil {
		c.end()
		return lookUp(ctx, config, d.destination)
	}
	asked := time.Now()
	output, log, exit, err := askSSH(ctx, config, d.destination, "-v")
	if err != nil || exit != 0 {
		return lookUp(ctx, config, d.destination) // whose error has no log in it
	}
	options := parseOptions(output)
	c.keep(d, options, filesRead(log), asked)
	return newEndpoint(d.destination, options, config)
}

// end has every destination asked for.
func (c *classes) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = true
}

func (c *classes) keep(d plainDestination, options map[string][]string, files []string, asked time.Time) {
	stamp, ok := stampOf(files, asked)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off || !ok {
		c.off = true
		return
	}
	at := slices.IndexFunc(c.texts, func(t *stampedText) bool { return t.stamp == stamp })
	if at < 0 {
		t := &stampedText{files: files, stamp: stamp}
		if !t.readAll() {
			c.off = true
			return
		}
		if len(c.texts) == 0 {
			c.since, c.said = asked, map[string]*answer{}
		}
		at, c.texts = len(c.texts), append(c.texts, t)
	}
	t := c.texts[at]
	if a := newAnswer(d.name, options); a != nil && t.shares(d.name) {
		c.said[stamp+d.login+t.class(d.name)] = a
	}
}

func (t *stampedText) readAll() bool {
	for _, file := range t.files {
		text, err := os.ReadFile(file)
		if err != nil || !t.read(string(text)) {
			return false
		}
	}
	return true
}

// An answer is ssh's for a class.
type answer struct {
	options       map[string][]string // those that are read, without HostName
	before, after string              // of the name in HostName
	named         bool                // HostName has the name in it
}

// newAnswer finds out what of ssh's answer for name is the name. It returns nil
// where that cannot be told.
func newAnswer(name string, options map[string][]string) *answer {
	a := &answer{options: map[string][]string{}}
	for _, keyword := range readKeywords {
		keyword = strings.ToLower(keyword)
		values := options[keyword]
		if keyword == "hostname" || len(values) == 0 {
			continue
		}
		if strings.Contains(strings.ToLower(strings.Join(values, "\n")), name) {
			return nil
		}
		a.options[keyword] = values
	}
	if len(options["hostname"]) != 1 {
		return nil
	}
	hostName := options["hostname"][0]
	a.before, a.after, a.named = strings.Cut(hostName, name)
	if a.named && strings.LastIndex(hostName, name) != len(a.before) {
		return nil // one of them may be there by chance
	}
	return a
}

// of is the answer for d. ssh refuses a host that is its own jump host.
func (a *answer) of(d plainDestination) (options map[string][]string, ok bool) {
	if strings.Contains(strings.ToLower(strings.Join(a.options["proxyjump"], "\n")), d.name) {
		return nil, false
	}
	options = maps.Clone(a.options)
	hostName := a.before
	if a.named {
		hostName += d.name + a.after
		ok = isNoAddress(hostName) || isAddress(hostName)
	}
	options["hostname"] = []string{hostName}
	return options, ok || !a.named
}

// filesRead are those that ssh -v says it reads.
func filesRead(log string) []string {
	var files []string
	for line := range strings.Lines(log) {
		file, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "debug1: Reading configuration data ")
		if ok && !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files
}

// ssh cuts a longer name of a file off where it tells of it.
const toldName = 200

// stampOf tells whether files have changed. It says no where one cannot be read
// again, or has changed since ssh was asked, and where no file is known: some ssh
// may not tell.
func stampOf(files []string, asked time.Time) (stamp string, ok bool) {
	var b strings.Builder
	for _, file := range files {
		var s unix.Stat_t
		if err := unix.Stat(file, &s); err != nil || len(file) >= toldName {
			return "", false
		}
		if file != os.DevNull && (s.Mode&unix.S_IFMT != unix.S_IFREG || time.Unix(s.Ctim.Unix()).After(asked)) {
			return "", false
		}
		fmt.Fprintf(&b, "%s %d %d %d %d\x00", file, s.Dev, s.Ino, s.Size, s.Ctim.Nano())
	}
	return b.String(), len(files) > 0
}

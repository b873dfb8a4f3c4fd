package remote

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"infra/runtime"
)

// asksKnownHosts says whether known_hosts knows the host: not where its key is
// pinned, nor where it is trusted by what it showed first.
func (id *identity) asksKnownHosts() bool { return id == nil || id.pins == "" && !id.firstUse }

// keysOf are the keys by which a host is known that known_hosts is not asked
// for: those that are pinned, or the one that it showed first.
func (p *Pool) keysOf(id *identity) (knownHosts, error) {
	if id.pins != "" {
		return id.keys(), nil
	}
	recorded, _, err := p.contacts.of(id.host, id.instance)
	if err != nil || recorded == nil {
		return nil, err
	}
	return knownHosts{{file: recorded.file, line: recorded.line, key: recorded.key}}, nil
}

// accepted notes the key by which a host was let in, without the certificate
// that may be about it.
func (p *Pool) accepted(e *Endpoint, key ssh.PublicKey) {
	if certificate, ok := key.(*ssh.Certificate); ok {
		key = certificate.Key
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown[e.key()] = key
}

// note keeps what there is to say of a host until somebody is there to hear it:
// a connection is made for all who want it at the same time.
func (p *Pool) note(e *Endpoint, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notes[e.key()] = append(p.notes[e.key()], text)
}

// tell says it, in the name of the step for which ctx is.
func (p *Pool) tell(ctx context.Context, e *Endpoint) {
	if e.as == nil || !runtime.Prints(ctx) {
		return
	}
	p.mu.Lock()
	notes := p.notes[e.key()]
	delete(p.notes, e.key())
	p.mu.Unlock()
	for _, text := range notes {
		runtime.Print(ctx, text)
	}
}

// notPinned is for a key that is none of those that are pinned.
func (c *hostKeyCheck) notPinned(key ssh.PublicKey) error {
	var pins []string
	for _, k := range c.known {
		pins = append(pins, fingerprint(k.key))
	}
	return runtime.WithHint(
		fmt.Errorf("THE HOST KEY OF %s IS NOT THE PINNED ONE: it shows %s, and what the plan pins is %s. "+
			"Either the machine has not got that key yet, or someone answers in its place. Nothing was sent",
			c.endpoint, fingerprint(key), strings.Join(pins, ", ")),
		"before a machine is installed it has another key: reach it by ssh.at(..., trust = \"first-use\") until then")
}

// firstUse records the key of a host of which none is recorded, and accepts no
// other afterwards.
func (c *hostKeyCheck) firstUse(key ssh.PublicKey) error {
	id := c.endpoint.as
	shown := &contact{host: id.host, instance: id.instance, key: key, since: time.Now()}
	recorded, last, err := c.pool.contacts.record(shown)
	if err != nil {
		return err
	}
	if !sameKey(recorded.key, key) {
		return c.changedSince(recorded, key)
	}
	if recorded == shown {
		c.pool.note(c.endpoint, c.firstContact(recorded, last, key))
	}
	return nil
}

func (c *hostKeyCheck) firstContact(recorded, last *contact, key ssh.PublicKey) string {
	id := c.endpoint.as
	text := fmt.Sprintf("first contact with %s%s: its host key %s was not checked, and is the only one that is accepted from now on (%s)",
		c.endpoint, instanceNote(id.instance), fingerprint(key), recorded.place())
	if c.pool.contacts.lookOn {
		text = fmt.Sprintf("first contact with %s%s: its host key %s was not checked; a run would record it",
			c.endpoint, instanceNote(id.instance), fingerprint(key))
	}
	switch {
	case last == nil:
		return text
	case sameKey(last.key, key):
		return text + fmt.Sprintf("; it is the key of before, of %s", last.words())
	}
	return text + fmt.Sprintf("; THE KEY CHANGED from %s, of %s: it is another machine of that name", fingerprint(last.key), last.words())
}

func (c *hostKeyCheck) changedSince(was *contact, key ssh.PublicKey) error {
	hint := "where the machine was replaced, the plan tells it by another instance = ... of ssh.at"
	if was.line > 0 {
		hint += fmt.Sprintf("; where it was installed anew and you have compared the new fingerprint, take line %d out of %s", was.line, was.file)
	}
	return runtime.WithHint(
		fmt.Errorf("THE HOST KEY OF %s HAS CHANGED: it shows %s, but %s showed %s at first contact (%s). "+
			"Either the same machine was installed anew, or someone answers in its place. Nothing was sent",
			c.endpoint, fingerprint(key), was.words(), fingerprint(was.key), was.place()), "%s", hint)
}

// words are which machine a contact was with, and since when it is known.
func (c *contact) words() string {
	since := ""
	if !c.since.IsZero() {
		since = ", since " + c.since.Local().Format(time.DateTime)
	}
	if c.instance == "" {
		return "the machine without an instance" + since
	}
	return "instance " + c.instance + since
}

func instanceNote(instance string) string {
	if instance == "" {
		return ""
	}
	return ", instance " + instance
}

// Package preview keeps what a dry run showed: a document that a person
// reviews, and by which a later run is held to exactly that.
//
// A document says what the preview saw (the plan's files, the flake, the
// tools, the hosts) and what a run would do, operation by operation. The same
// plan in the same world gives the same bytes, but for the time.
package preview

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"time"

	"infra/runtime"
)

// Schema is the version of the document that this package writes.
const Schema = 1

// A Document is a saved preview.
type Document struct {
	Schema int       `json:"schema"`
	Digest string    `json:"digest"` // of all but itself and the time
	Made   time.Time `json:"made"`
	Infra  string    `json:"infra"` // the version that made it

	Plan      string   `json:"plan"` // its name
	File      string   `json:"file"` // from the project's root
	OnlySteps []string `json:"only_steps,omitempty"`
	OnlyHosts []string `json:"only_hosts,omitempty"`
	Built     bool     `json:"built,omitempty"` // builds were carried out

	Steps   []Step           `json:"steps"`           // in the plan's order
	Sources []runtime.Source `json:"sources"`         // the plan's file and all that it loads
	Files   []runtime.Source `json:"files,omitempty"` // of the project, that the steps read
	Facts
}

// A Step is the preview of one step, or of its share for one host.
type Step struct {
	Name       string      `json:"name"`
	Host       string      `json:"host,omitempty"`
	Status     string      `json:"status"`        // runtime.OK, or it cannot be carried out
	Why        string      `json:"why,omitempty"` // it ended otherwise
	Doubts     []string    `json:"doubts,omitempty"`
	Operations []Operation `json:"operations"` // that do more than look, in order
}

// Facts are what the preview saw besides files.
type Facts struct {
	Flake *Flake `json:"flake,omitempty"`
	Tools []Tool `json:"tools"`
	Hosts []Host `json:"hosts"`
}

// A Flake is the state of the flake that "." means.
type Flake struct {
	NarHash string `json:"nar_hash"`    // of all its files
	Lock    string `json:"lock_sha256"` // of what its inputs are locked to

	folder string // where every file in it counts; "" where git says which do
}

// A Tool is a program on this machine.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// A Host is the state of a host. What it does not have is empty.
type Host struct {
	Name        string `json:"name"`
	Unreachable bool   `json:"unreachable,omitempty"` // it could not be asked
	System      string `json:"system,omitempty"`      // the store path that it runs
	Profile     string `json:"profile,omitempty"`     // the store path that it will boot
	Generation  int    `json:"generation,omitempty"`  // of the profile
	BootID      string `json:"boot_id,omitempty"`     // another one after every boot
}

// Encode writes the document as the file that a person reads.
func (d *Document) Encode() ([]byte, error) {
	signed := *d
	var err error
	if signed.Digest, err = d.digest(); err != nil {
		return nil, err
	}
	return encode(&signed)
}

// digest tells a document that was damaged from one that was not. It is no
// signature: what protects a run is that the preview is made again.
func (d *Document) digest() (string, error) {
	bare := *d
	bare.Digest, bare.Made = "", time.Time{}
	data, err := encode(&bare)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), err
}

func encode(x any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // a reader wants to see "a && b"
	e.SetIndent("", "  ")
	if err := e.Encode(x); err != nil {
		return nil, fmt.Errorf("write the preview as JSON: %w", err)
	}
	return b.Bytes(), nil
}

// Parse reads what Encode wrote and refuses everything else: what a person
// read in the file must be what is compared.
func Parse(data []byte) (*Document, error) {
	var head struct {
		Schema *int `json:"schema"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, damaged(err)
	}
	switch {
	case head.Schema == nil || *head.Schema < 1:
		return nil, runtime.WithHint(errors.New("it is no saved preview: it names no schema"), "infra run --dry-run --out FILE PLAN makes one")
	case *head.Schema > Schema:
		return nil, runtime.WithHint(fmt.Errorf("a newer infra made it: its schema is %d, and this infra knows %d", *head.Schema, Schema),
			"carry it out with the infra that made it, or make a new preview with this one")
	}
	doc := new(Document)
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(doc); err != nil {
		return nil, damaged(err)
	}
	if err := doc.intact(data); err != nil {
		return nil, damaged(err)
	}
	return doc, nil
}

func damaged(err error) error {
	return runtime.WithHint(fmt.Errorf("it is damaged, or was edited: %w", err), "make a new preview: infra run --dry-run --out FILE PLAN")
}

// intact compares the document to the bytes that it was read from.
func (d *Document) intact(data []byte) error {
	digest, err := d.digest()
	if err != nil {
		return err
	}
	if d.Digest != digest {
		return errors.New("its digest is that of another content")
	}
	again, err := encode(d)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, data) {
		return errors.New("it is not written as infra writes it")
	}
	if !filepath.IsLocal(filepath.FromSlash(d.File)) || path.Ext(d.File) != ".star" {
		return fmt.Errorf("%q is no plan file of a project", d.File)
	}
	seen := map[string]bool{}
	for _, s := range d.Steps {
		if key := s.String(); seen[key] {
			return fmt.Errorf("%s is there twice", key)
		} else {
			seen[key] = true
		}
	}
	return nil
}

// String is the step as people call it: "step switch on blackphos".
func (s Step) String() string {
	if s.Host == "" {
		return "step " + s.Name
	}
	return "step " + s.Name + " on " + s.Host
}

// Unfit says why the preview cannot be carried out, each reason on its own;
// nothing where it can.
func (d *Document) Unfit() []string {
	var why []string
	for _, s := range d.Steps {
		if s.Status != string(runtime.OK) {
			why = append(why, fmt.Sprintf("%s was not previewed to its end (%s): %s", s, s.Status, s.Why))
		}
		for _, doubt := range s.Doubts {
			why = append(why, fmt.Sprintf("%s: %s", s, doubt))
		}
	}
	return why
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A state is all that the stand-in remembers.
type state struct {
	Last    int64              `json:"last"` // the id that was given last
	Servers map[int64]*machine `json:"servers"`
	Keys    map[int64]*sshKey  `json:"ssh_keys"`
	Actions map[int64]*job     `json:"actions"`
	Faults  []*fault           `json:"faults"`
}

func (a *api) load() error {
	text, err := os.ReadFile(a.file)
	if err == nil {
		err = json.Unmarshal(text, &a.state)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read what there is: %w", err)
	}
	if a.state.Servers == nil {
		a.state.Last, a.state.Servers, a.state.Keys, a.state.Actions = 1000, map[int64]*machine{}, map[int64]*sshKey{}, map[int64]*job{}
	}
	return nil
}

// save replaces the file as a whole.
func (a *api) save() error {
	text, err := json.Marshal(a.state)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(a.file), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(a.file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(a.file+".new", a.file)
}

func (a *api) newID() int64 {
	a.state.Last++
	return a.state.Last
}

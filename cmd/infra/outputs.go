package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"infra/runtime"
)

// outputs are all that show one run: people or programs while it goes on, and
// CI when it has ended.
type outputs struct {
	app   *app
	flags runFlags
	show  reader
	root  string

	profile *profile  // nil: none is written
	reports []*report // one for each run; none where nothing is made of them
}

// newOutputs refuses what could not be written in the end before anything is
// done.
func (a *app) newOutputs(path string, f runFlags) (*outputs, error) {
	o := &outputs{app: a, flags: f, show: a.reader(f)}
	if f.junit != "" {
		if err := writable(f.junit); err != nil {
			return nil, exit{exitUsage, err}
		}
	}
	if f.profile != "" {
		var err error
		if o.profile, err = startProfile(f.profile); err != nil {
			return nil, exit{exitUsage, err}
		}
	}
	if f.junit == "" && !f.github {
		return o, nil
	}
	o.expect(path)
	return o, nil
}

// expect makes a report for a run that will be read next.
func (o *outputs) expect(path string) {
	r := newReport(path, o.flags.strict)
	r.workspace, r.root = o.app.getenv("GITHUB_WORKSPACE"), o.root
	o.reports = append(o.reports, r)
}

// again shows another run, which follows the one that has ended.
func (o *outputs) again(f runFlags) {
	o.show.Close()
	o.show = o.app.reader(f)
	if r := o.report(); r != nil {
		o.expect(r.file)
	}
}

// report is that of the run which is read now, or nil.
func (o *outputs) report() *report {
	if len(o.reports) == 0 {
		return nil
	}
	return o.reports[len(o.reports)-1]
}

// reader is what shows a run while it goes on.
func (a *app) reader(f runFlags) reader {
	switch {
	case f.json:
		return &jsonLines{a.stdout, f.code}
	case a.watched():
		return newPlain(a.words(), wantsColor(a.stderr, a.getenv), f.strict)
	}
	return newPeopleReader(a.stderr, a.getenv, f.strict)
}

// in says where the project is.
func (o *outputs) in(root string) {
	o.root = root
	if r := o.report(); r != nil {
		r.root = root
	}
}

// Read implements reader.
func (o *outputs) Read(e runtime.Event) {
	o.show.Read(e)
	o.profile.Read(e)
	if r := o.report(); r != nil {
		r.Read(e)
	}
}

// finish writes what is made of the whole run, however it ended: err is what
// the run ends with, or what kept it from beginning.
func (o *outputs) finish(err error) error {
	o.show.Close()
	code := exitCodeOf(err)
	var shown exit
	refused := err
	if errors.As(err, &shown) && shown.err == nil {
		refused = nil // the run ended; readers have shown how
	}
	if lines, ok := o.show.(*jsonLines); ok && refused != nil {
		lines.refuse(refused, code)
	}
	for _, r := range o.reports {
		r.code = code
	}
	if r := o.report(); r != nil {
		r.refused = refused
	}
	lost := errors.Join(o.write(), o.profile.stop())
	switch {
	case lost == nil:
		return err
	case code == exitOK || code == exitPending:
		return exit{exitFailed, lost}
	}
	printFailure(o.app.words(), "", lost, nil, wantsColor(o.app.stderr, o.app.getenv))
	return err
}

func (o *outputs) write() error {
	var errs []error
	for _, r := range o.reports {
		if !o.flags.github {
			break
		}
		errs = append(errs, annotate(o.app.stderr, r))
		if file := o.app.getenv("GITHUB_STEP_SUMMARY"); file != "" {
			errs = append(errs, appendSummary(file, r))
		}
	}
	if o.flags.junit != "" {
		errs = append(errs, writeJUnit(o.flags.junit, o.reports...))
	}
	return errors.Join(errs...)
}

// watched says whether GitHub's runner reads what is printed and obeys it.
func (a *app) watched() bool { return a.github || a.getenv("GITHUB_ACTIONS") == "true" }

// words is where words for people go.
func (a *app) words() io.Writer {
	if a.watched() {
		return disarmed{a.stderr}
	}
	return a.stderr
}

// writable says why a file could not be put at path.
func writable(path string) error {
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return runtime.WithHint(fmt.Errorf("%s cannot be written: there is no folder %s", path, dir), "make the folder first: mkdir -p %s", dir)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return runtime.WithHint(fmt.Errorf("%s cannot be written: it is there and is no file", path), "name a file that infra may replace")
	}
	return nil
}

// replaceFile puts a file at path as a whole: a reader, and a crash, see the
// old one or the new one.
func replaceFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".infra-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

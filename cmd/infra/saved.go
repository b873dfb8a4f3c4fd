package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/interp"
	saved "infra/runtime/preview"
)

// planArgs wants one plan file, which a saved preview names too.
func planArgs(c *cobra.Command, args []string) error {
	if c.Flags().Changed("plan") && len(args) == 0 {
		return nil
	}
	return exactly(1, "one plan file")(c, args)
}

// checkSaved refuses flags that contradict a saved preview.
func (f runFlags) checkSaved(c *cobra.Command) error {
	for _, name := range []string{"plan", "out"} {
		if c.Flags().Changed(name) && c.Flag(name).Value.String() == "" {
			return fmt.Errorf("--%s wants a file", name)
		}
	}
	for _, name := range []string{"dry-run", "out", "step", "host"} {
		if f.plan != "" && c.Flags().Changed(name) {
			return fmt.Errorf("--%s and --plan do not go together: a saved preview says what is done", name)
		}
	}
	switch {
	case f.out != "" && !f.dryRun:
		return errors.New("--out saves a preview: it wants --dry-run")
	case f.out != "" && f.offline:
		return errors.New("--out and --offline do not go together: a preview that asked no host cannot be carried out")
	}
	return nil
}

// A previewer makes the documents of saved previews.
type previewer struct {
	engine *engine.Engine
	world  saved.World
	out    string          // the file to save to; "" for none
	saved  *saved.Document // the one to carry out; nil for none
	from   string          // its file
}

// newPreviewer refuses a file that could not be written or read before
// anything is done. It returns the plan file too, which a saved preview names.
func newPreviewer(f *runFlags, given string) (*previewer, string, error) {
	p := &previewer{out: f.out, from: f.plan}
	if f.out != "" {
		if err := writable(f.out); err != nil {
			return nil, "", exit{exitUsage, err}
		}
	}
	if f.plan == "" {
		return p, given, nil
	}
	var path string
	var err error
	p.saved, path, err = openSaved(f, given)
	return p, path, err
}

// in says which project is previewed.
func (p *previewer) in(s *session) {
	p.engine, p.world = s.engine, saved.World{Root: s.root, Flake: s.flags.flake, Pool: s.pool}
}

// openSaved reads the preview that is to be carried out. given is the plan
// file that the command line names, if any.
func openSaved(f *runFlags, given string) (*saved.Document, string, error) {
	doc, err := saved.Open(f.plan)
	if err != nil {
		return nil, "", exit{exitUsage, err}
	}
	path, err := planOf(doc, f.plan, given)
	if err != nil {
		return nil, "", exit{exitUsage, err}
	}
	if why := doc.Unfit(); len(why) > 0 {
		return nil, "", held(fmt.Errorf("%w: the preview in %s cannot be carried out:%s", runtime.ErrHeld, f.plan, bullets(why)), f.plan, doc.File)
	}
	f.steps, f.hosts, f.build = doc.OnlySteps, doc.OnlyHosts, doc.Built
	f.preview = &savedPreview{fromHere(f.plan), doc.Digest}
	return doc, path, nil
}

// A savedPreview is one that a run is held to, for those that resume the run.
type savedPreview struct {
	Path   string `json:"path"` // absolute
	Digest string `json:"digest"`
}

// open reads the preview again. It refuses another one than the run was begun
// with: what was reviewed is what runs.
func (s *savedPreview) open(run string) (*saved.Document, error) {
	if s == nil {
		return nil, nil
	}
	doc, err := saved.Open(s.Path)
	if err == nil && doc.Digest != s.Digest {
		err = errors.New("it is another one now")
	}
	if err != nil {
		return nil, exit{exitHeld, runtime.WithHint(fmt.Errorf("%w: run %s is held to the preview that was saved in %s: %w", runtime.ErrHeld, run, s.Path, err),
			"put that file back; or leave the run as it is, and have a new preview reviewed: infra run --dry-run --out FILE PLAN")}
	}
	return doc, nil
}

// planOf finds the plan file of a preview in the project that given belongs
// to, or the working directory.
func planOf(doc *saved.Document, name, given string) (string, error) {
	root, err := interp.FindRoot(".")
	if given != "" {
		root, err = rootOf(given)
	}
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, filepath.FromSlash(doc.File))
	if given != "" && resolved(given) != resolved(path) {
		return "", fmt.Errorf("%s is a preview of %s, not of %s", name, doc.File, given)
	}
	if _, err := os.Stat(path); err != nil {
		return "", runtime.WithHint(fmt.Errorf("%s is a preview of %s, which the project in %s does not have", name, doc.File, root),
			"run it in the project that it was made in")
	}
	return path, nil
}

// held is the end of a run that was not begun, because it would not be what
// was reviewed.
func held(err error, name, file string) error {
	return exit{exitHeld, runtime.WithHint(err, "make a new preview and have it reviewed: infra run --dry-run --out %s %s", name, file)}
}

// bullets is a list in an error.
func bullets(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString("\n- " + strings.ReplaceAll(l, "\n", "\n  "))
	}
	return b.String()
}

// document runs a dry run and makes its document; nil where it was
// interrupted. What can change behind its back is looked at first: what does
// change meanwhile then shows as a difference.
func (p *previewer) document(ctx context.Context, file *interp.File, opts engine.Options) (*saved.Document, engine.Outcome, error) {
	w := p.world
	for _, h := range file.Plan.Hosts {
		if len(opts.Hosts) == 0 || slices.Contains(opts.Hosts, h.Name) {
			w.Hosts = append(w.Hosts, h)
		}
	}
	facts, err := w.Observe(ctx)
	if err == nil && p.out != "" {
		err = apart(p.out, facts.Flake)
	}
	if err != nil {
		return nil, engine.Outcome{}, err
	}
	c, also := saved.NewCollector(p.world.Root), opts.Show
	opts.Show = func(e runtime.Event) {
		c.Read(e)
		if also != nil {
			also(e)
		}
	}
	out, err := p.engine.Run(ctx, file, opts)
	if err != nil || !c.Complete() {
		return nil, out, err
	}
	doc := &saved.Document{
		Schema: saved.Schema, Made: time.Now().UTC().Truncate(time.Second), Infra: version(), Plan: file.Plan.Name, File: file.Path,
		OnlySteps: selected(opts.Steps), OnlyHosts: selected(opts.Hosts), Built: opts.Build,
		Sources: file.Sources(), Facts: facts,
	}
	return doc, out, c.Fill(doc)
}

// selected is a selection without its order, which means nothing.
func selected(names []string) []string { return slices.Compact(slices.Sorted(slices.Values(names))) }

// apart refuses a place where saving the preview would make it another one.
func apart(out string, flake *saved.Flake) error {
	if !flake.Counts(filepath.Join(resolved(filepath.Dir(out)), filepath.Base(out))) {
		return nil
	}
	return exit{exitUsage, runtime.WithHint(fmt.Errorf("%s is in the flake's folder, where every file is a part of the flake: the preview would never hold", out),
		"save it elsewhere, or make the folder a git repository")}
}

// run runs a plan, and saves the preview where that is wanted.
func (p *previewer) run(s *session, file *interp.File) (engine.Outcome, error) {
	opts := s.options()
	if p.saved != nil {
		opts.Reviewed = p.saved
	}
	if p.out == "" {
		return s.carryOut(file, opts)
	}
	doc, out, err := p.document(s.hard, file, opts)
	s.to.show.Close()
	if err != nil {
		return out, err
	}
	return out, p.save(s.app, doc)
}

// save writes the preview and says what can be done with it.
func (p *previewer) save(a *app, doc *saved.Document) error {
	if doc == nil {
		fmt.Fprintln(a.words(), "no preview was saved: it did not come to its end")
		return nil
	}
	if err := doc.Write(p.out); err != nil {
		return err
	}
	for _, h := range doc.Hosts {
		if h.Unreachable {
			fmt.Fprintf(a.words(), "%s could not be asked what it runs: that is no part of the preview\n", printable(h.Name))
		}
	}
	if why := doc.Unfit(); len(why) > 0 {
		fmt.Fprintf(a.words(), "saved in %s; it cannot be carried out:%s\n", p.out, printable(bullets(why)))
		return nil
	}
	fmt.Fprintf(a.words(), "saved in %s; infra run --plan %s carries out exactly this\n", p.out, p.out)
	return nil
}

// verify previews the plan again, unseen, and refuses to go on where that is
// not what was reviewed. file is what would be run. Nothing has been changed
// then, and nothing is journaled.
func (p *previewer) verify(ctx context.Context, path string, file *interp.File, opts engine.Options) error {
	if p.saved == nil {
		return nil
	}
	again, err := p.engine.Preview(ctx, path)
	if err != nil {
		return loading(err)
	}
	opts.Show, opts.Ask = nil, nil
	now, _, err := p.document(ctx, again, opts)
	if errors.Is(err, engine.ErrSelection) {
		return held(fmt.Errorf("%w: the preview in %s cannot be carried out any more: %w", runtime.ErrHeld, p.from, err), p.from, p.saved.File)
	}
	if err != nil {
		return err
	}
	if now == nil {
		return exit{exitInterrupted, fmt.Errorf("comparing it to the preview: %w", runtime.ErrInterrupted)}
	}
	now.Sources = file.Sources()
	differences, err := p.differences(now)
	if err != nil {
		return err
	}
	if len(differences) > 0 {
		return held(fmt.Errorf("%w: what would be done now is not what the preview in %s shows:%s", runtime.ErrHeld, p.from, bullets(differences)), p.from, p.saved.File)
	}
	return nil
}

// differences compares what is now to what was saved, as it would be saved.
func (p *previewer) differences(now *saved.Document) ([]string, error) {
	data, err := now.Encode()
	if err != nil {
		return nil, err
	}
	if now, err = saved.Parse(data); err != nil {
		return nil, fmt.Errorf("compare the previews: %w", err)
	}
	return saved.Compare(p.saved, now), nil
}

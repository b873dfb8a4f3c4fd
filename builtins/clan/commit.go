package clan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

// A committing is the commit of what an operation of clan's changed. It is an
// operation of its own: clan is told to leave git alone, so that a preview
// shows the commit and a person can refuse it.
type committing struct {
	driver
	subject string                        // "vars of cinnabar"
	about   func() (what, files []string) // what of it was made, and in which files; in a preview as far as that is foreseen
	unsure  bool                          // a preview: what was asked for before has not happened
}

// commit asks for the operation. Its arguments do not name the files, which
// only the operation before it knows.
func (d driver) commit(c *call.Call, k committing) error {
	k.driver = d
	_, err := c.Do(runtime.Op{
		Name: "clan.commit", Repeatable: true,
		Args: runtime.Args{"subject": k.subject}, Show: "git commit: " + k.subject,
		// What it looks at beside is what the operation before it altered, and
		// that is known to be for it.
		Looks: []string{filepath.Join(d.dir, ".git", "HEAD")}, Alters: []string{filepath.Join(d.dir, ".git")},
		Predict: k.predict, Run: k.run,
		NotKnown: func() starlark.Value { return starlark.None },
		Same: func() string {
			what, files := k.about()
			return call.Same(d.dir, k.unsure, what, files)
		},
	})
	return err
}

// message is the subject, and what was made.
func (k committing) message() string {
	what, _ := k.about()
	text := "clan: " + k.subject
	if len(what) > 0 {
		text += "\n\n" + strings.Join(what, "\n") + "\n"
	}
	return text
}

func (k committing) predict(ctx context.Context) (runtime.Prediction, error) {
	if repo, err := k.inRepository(ctx); err != nil || !repo {
		return runtime.Prediction{Verdict: runtime.NoChange, Value: starlark.None, Detail: notARepository}, err
	}
	_, files := k.about()
	if len(files) == 0 && !k.unsure {
		return runtime.Prediction{Verdict: runtime.NoChange, Value: starlark.None}, nil
	}
	return runtime.Prediction{Verdict: runtime.WillChange, Value: starlark.None, Detail: listed(files)}, nil
}

const notARepository = "the clan's folder is not in a git repository: nothing to commit"

// listed is a list of files, cut where it is long.
func listed(files []string) string {
	const most = 20
	if len(files) > most {
		return strings.Join(files[:most], "\n") + fmt.Sprintf("\nand %d more", len(files)-most)
	}
	return strings.Join(files, "\n")
}

// run commits the files as they are, and nothing else: what a person has
// staged stays staged, and is not in the commit.
func (k committing) run(ctx context.Context, log io.Writer) (runtime.Result, error) {
	_, files := k.about()
	if repo, err := k.inRepository(ctx); err != nil || !repo || len(files) == 0 {
		return runtime.Result{}, err
	}
	done, err := k.takeTurn(ctx, log)
	if err != nil {
		return runtime.Result{}, err
	}
	defer done()
	there := slices.DeleteFunc(slices.Clone(files), func(f string) bool {
		_, err := os.Lstat(filepath.Join(k.dir, f))
		return errors.Is(err, os.ErrNotExist)
	})
	// git commits only files that it knows; of those that are new this says
	// no more than that they are there.
	if len(there) > 0 {
		if _, err := k.git(ctx, log, there, "add", "--intent-to-add"); err != nil {
			return runtime.Result{}, err
		}
	}
	dirty, err := k.git(ctx, io.Discard, files, "status", "--porcelain", "-z", "--untracked-files=all")
	if err != nil || dirty == "" {
		return runtime.Result{}, err
	}
	_, err = k.git(ctx, log, pathsIn(dirty), "commit", "--quiet", "--no-verify", "--only", "-m", k.message())
	if err != nil {
		return runtime.Result{}, runtime.WithHint(fmt.Errorf("%w\nwhat clan wrote is there, and not committed", err),
			"commit it by hand, or mend what git says and infra resume")
	}
	return runtime.Result{Changed: true}, nil
}

// pathsIn are the paths of a status that git printed with -z. A file that was
// deleted before git knew it is in none.
func pathsIn(status string) []string {
	var paths []string
	for entry := range strings.SplitSeq(status, "\x00") {
		if len(entry) > 3 {
			paths = append(paths, entry[3:])
		}
	}
	return paths
}

func (k committing) inRepository(ctx context.Context) (bool, error) {
	out, err := command.Query(ctx, remote.Run, remote.Command{Dir: k.dir, Env: gitEnv(), Argv: []string{"git", "rev-parse", "--is-inside-work-tree"}}, io.Discard)
	if err != nil {
		return false, err
	}
	return out.Exit.Code == 0, nil
}

// git runs a subcommand on the files alone, named literally. The names are not
// arguments: there may be more of them than fit.
func (k committing) git(ctx context.Context, log io.Writer, files []string, args ...string) (string, error) {
	if args[0] == "status" { // it takes no list of names
		return k.gitOn(ctx, log, files, args)
	}
	argv := append([]string{"git"}, args...)
	argv = append(argv, "--pathspec-from-file=-", "--pathspec-file-nul")
	cmd := remote.Command{Dir: k.dir, Env: gitEnv(), Argv: argv, Stdin: runtime.PlainText(strings.Join(files, "\x00") + "\x00")}
	out, err := command.Run(ctx, remote.Run, cmd, log)
	if err == nil {
		err = out.Err("git " + args[0])
	}
	return out.Stdout, err
}

func (k committing) gitOn(ctx context.Context, log io.Writer, files, args []string) (string, error) {
	var all strings.Builder
	for part := range slices.Chunk(files, 500) {
		argv := append(append([]string{"git"}, args...), "--")
		out, err := command.Query(ctx, remote.Run, remote.Command{Dir: k.dir, Env: gitEnv(), Argv: append(argv, part...)}, log)
		if err == nil {
			err = out.Err("git " + args[0])
		}
		if err != nil {
			return "", err
		}
		all.WriteString(out.Stdout)
	}
	return all.String(), nil
}

// gitEnv: no question, no pattern in a name, and no lock for what only looks.
func gitEnv() map[string]runtime.Text {
	return map[string]runtime.Text{
		"GIT_TERMINAL_PROMPT": runtime.PlainText("0"), "GIT_LITERAL_PATHSPECS": runtime.PlainText("1"),
		"GIT_OPTIONAL_LOCKS": runtime.PlainText("0"), "LC_ALL": runtime.PlainText("C"),
	}
}

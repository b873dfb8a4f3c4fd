package watch

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// A save is something that is done to files, and the one change that it is.
type save struct {
	name      string
	before    func(p *place) // the watching
	save      func(p *place)
	want      []string // none: it is no change
	also      []string // what is watched beside
	needs     string   // a program
	filesOnly bool     // it is another thing where a Tree is watched
}

var saves = []save{
	{name: "truncated and written", want: []string{"plan.star"}, save: func(p *place) {
		p.write("plan.star", p.text())
	}},
	{name: "written in place", want: []string{"plan.star"}, save: func(p *place) {
		f, err := os.OpenFile(p.path("plan.star"), os.O_WRONLY, 0)
		p.check(err)
		_, err = f.WriteString(p.text())
		p.check(err)
		p.check(f.Close())
	}},
	{name: "renamed over", want: []string{"plan.star"}, save: func(p *place) {
		p.write("plan.star.tmp", p.text())
		p.rename("plan.star.tmp", "plan.star")
	}},
	{name: "as vim does with a backup", want: []string{"plan.star"}, save: func(p *place) {
		p.write(".plan.star.swp", "x")
		p.write("4913", "")
		p.remove("4913")
		p.rename("plan.star", "plan.star~")
		p.write("plan.star", p.text())
		p.check(os.Chmod(p.path("plan.star"), 0o640))
		p.remove("plan.star~")
		p.remove(".plan.star.swp")
	}},
	{name: "by vim", want: []string{"plan.star"}, needs: "vim", save: func(p *place) {
		p.run("vim", "-N", "-u", "NONE", "-i", "NONE", "-es", "-c", "set backup backupcopy=no", "-c", "normal A "+p.text(), "-c", "wq", "plan.star")
	}},
	{name: "by sed -i", want: []string{"plan.star"}, needs: "sed", save: func(p *place) {
		p.run("sed", "-i", "s/$/ more/", "plan.star")
	}},
	{name: "as JetBrains do", want: []string{"plan.star"}, save: func(p *place) {
		p.write("plan.star___jb_tmp___", p.text())
		p.rename("plan.star", "plan.star___jb_old___")
		p.rename("plan.star___jb_tmp___", "plan.star")
		p.remove("plan.star___jb_old___")
	}},
	{name: "as emacs does", want: []string{"plan.star"}, save: func(p *place) {
		p.link("me@host.1:2", ".#plan.star")
		p.write("#plan.star#", p.text())
		p.rename("plan.star", "plan.star~")
		p.write("plan.star", p.text())
		p.remove("#plan.star#")
		p.remove(".#plan.star")
	}},
	{name: "many small writes", want: []string{"plan.star"}, save: func(p *place) {
		f, err := os.Create(p.path("plan.star"))
		p.check(err)
		for range 20 {
			_, err = f.WriteString(p.text())
			p.check(err)
			p.pause(0.2)
		}
		p.check(f.Close())
	}},
	{name: "emptied, and written when it is quiet", want: []string{"plan.star"}, save: func(p *place) {
		p.write("plan.star", "")
		p.pause(1.5)
		p.write("plan.star", p.text())
	}},
	{name: "removed, and written when it is quiet", want: []string{"plan.star"}, save: func(p *place) {
		p.remove("plan.star")
		p.pause(1.5)
		p.write("plan.star", p.text())
	}},
	{name: "removed for good", want: []string{"plan.star"}, save: func(p *place) { p.remove("plan.star") }},
	{name: "the target of a link is written", want: []string{"links/link.star"}, filesOnly: true, before: func(p *place) {
		p.mkdir("real")
		p.mkdir("links")
		p.write("real/target.star", "content")
		p.link("../real/target.star", "links/link.star")
	}, save: func(p *place) { p.write("real/target.star", p.text()) }},
	{name: "a link leads elsewhere", want: []string{"links/link.star"}, before: func(p *place) {
		p.mkdir("links")
		p.write("other.star", p.text())
		p.link("../plan.star", "links/link.star")
	}, save: func(p *place) {
		p.link("../other.star", "links/link.star.tmp")
		p.rename("links/link.star.tmp", "links/link.star")
	}},
	{name: "a link on the way leads elsewhere", want: []string{"links/now/a.star"}, filesOnly: true, before: func(p *place) {
		p.mkdir("links")
		p.mkdir("v1")
		p.mkdir("v2")
		p.write("v1/a.star", "content")
		p.write("v2/a.star", p.text())
		p.link("../v1", "links/now")
	}, save: func(p *place) {
		p.link(p.path("v2"), "links/then")
		p.rename("links/then", "links/now")
	}},
	{name: "its folder is deleted and made anew", want: []string{"conf/deep/a.star"}, before: inFolder, save: func(p *place) {
		p.remove("conf")
		p.mkdir("conf/deep")
		p.write("conf/deep/a.star", p.text())
	}},
	{name: "another folder is in the place of its folder's", want: []string{"conf/deep/a.star"}, before: func(p *place) {
		inFolder(p)
		p.mkdir("next/deep")
		p.write("next/deep/a.star", p.text())
	}, filesOnly: true, save: func(p *place) {
		p.rename("conf", "old")
		p.rename("next", "conf")
	}},
	{name: "a folder far above is another one", want: []string{"far/above/conf/deep/a.star"}, filesOnly: true, before: func(p *place) {
		p.mkdir("far/above/conf/deep")
		p.write("far/above/conf/deep/a.star", "content")
		p.mkdir("far/next/conf/deep")
		p.write("far/next/conf/deep/a.star", p.text())
	}, save: func(p *place) {
		p.rename("far/above", "far/old")
		p.rename("far/next", "far/above")
	}},
	{name: "in a folder that was made anew before", want: []string{"conf/deep/a.star"}, before: inFolder, save: func(p *place) {
		p.remove("conf")
		p.mkdir("conf/deep")
		p.pause(0.5)
		p.write("conf/deep/a.star", p.text())
	}},
	{name: "a file that was not there", want: []string{"new.star"}, save: func(p *place) { p.write("new.star", p.text()) }},
	{name: "a nested folder with the file", want: []string{"a/b/c/new.star"}, save: func(p *place) {
		p.mkdir("a/b/c")
		p.write("a/b/c/new.star", p.text())
	}},
	{name: "a nested folder, then the file", want: []string{"a/b/c/new.star"}, save: func(p *place) {
		p.mkdir("a")
		p.pause(0.3)
		p.mkdir("a/b/c")
		p.pause(0.3)
		p.write("a/b/c/new.star", p.text())
	}},
	{name: "a new folder, with a file written in parts", want: []string{"a/new.star"}, save: func(p *place) {
		p.mkdir("a")
		p.pause(0.6)
		p.write("a/new.star", "part")
		p.pause(0.6)
		p.write("a/new.star", p.text())
	}},
	{name: "two files", want: []string{"a.star", "plan.star"}, save: func(p *place) {
		p.write("plan.star", p.text())
		p.pause(0.5)
		p.write("a.star", p.text())
	}},

	{name: "touched", save: func(p *place) { p.check(os.Chtimes(p.path("plan.star"), time.Now(), time.Now())) }},
	{name: "permissions", save: func(p *place) { p.check(os.Chmod(p.path("plan.star"), 0o755)) }},
	{name: "saved as it was", save: func(p *place) { p.write("plan.star", "content") }},
	{name: "changed and back", save: func(p *place) {
		p.write("plan.star", p.text())
		p.pause(0.5)
		p.write("plan.star", "content")
	}},
	{name: "renamed and back", save: func(p *place) {
		p.rename("plan.star", "elsewhere")
		p.rename("elsewhere", "plan.star")
	}},
	{name: "its folder renamed and back", also: []string{"conf/deep/a.star"}, before: inFolder, save: func(p *place) {
		p.rename("conf", "elsewhere")
		p.pause(0.3)
		p.rename("elsewhere", "conf")
	}},
	{name: "what editors and git leave", before: func(p *place) { p.mkdir(".git/refs") }, save: func(p *place) {
		for _, name := range []string{".plan.star.swp", ".plan.star.swx", ".plan.star.swpx", "plan.star~", "#plan.star#", "4913", ".#plan.star", ".git/HEAD"} {
			p.write(name, p.text())
		}
		p.mkdir(".infra/locks")
		p.write(".infra/journal", p.text())
		p.link("/nix/store/somewhere", "result")
		p.link("/nix/store/somewhere", "result-dev")
	}},
}

func inFolder(p *place) {
	p.mkdir("conf/deep")
	p.write("conf/deep/a.star", "content")
}

func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip("there is no ", name)
	}
}

func (p *place) run(name string, args ...string) {
	p.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = p.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	p.since = time.Now() // a program takes longer than what it does in the end
}

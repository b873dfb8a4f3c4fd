package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// onlyServer runs the plan of the server as far as that it is there.
var onlyServer = []string{"--step", "server", "--destroy", "cinnabar"}

// TestFaultsOfTheCloud has everything go wrong with the server that can. Each
// ends in an error that says what it is, and the next run goes on to the end.
func TestFaultsOfTheCloud(t *testing.T) {
	tr := newCloud(t)
	t.Run("a wrong token", func(t *testing.T) {
		tr := tr.with(t)
		defer tr.wipe()
		wrong := strings.Repeat("wrong-token-8bit", 4)
		tr.write("plans/wrong.star", "load(\"cinnabar.star\", real = \"cinnabar\")\n\ndef look():\n    terraform.dir(\"terraform/cinnabar\", config = nix.eval(\".#terraform.cinnabar\"), "+
			"env = {\"HCLOUD_TOKEN\": secrets.env(\"WRONG\")}).plan()\n\nwrong = plan(steps = [step(look)])\n")
		tr.cinnabar(0, onlyServer...) // a state that is empty has nothing to ask for
		r := tr.infra("WRONG="+wrong, "run", "--ssh-config", tr.fleet.SSHConfig(), "plans/wrong.star")
		r.want(t, exitFailed, "terraform plan of ", "the token you provided is invalid (unauthorized)")
		log := tr.infra("log", "last", "--output").stdout + tr.infra("log", "last", "--json").stdout
		tr.noSecrets(r.stdout+r.stderr+log, map[string]string{"the wrong token": wrong})
		tr.cinnabar(0, onlyServer...).want(t, 0, "nothing to do")
	})
	const notKnown = "it is not known whether this was made"
	for _, f := range []struct {
		name, fault string
		code        int
		says        []string
		unsure      bool   // whether it may have been made
		next        string // what the next run does
	}{
		{"too many requests", `{"method": "POST", "path": "/servers", "status": 429, "times": 2}`, 0, []string{"hcloud_server.cinnabar created"}, false, "nothing to do"},
		{"unavailable", `{"method": "POST", "path": "/servers", "status": 503}`, exitFailed, []string{"(unavailable) (hcloud_server.cinnabar)"}, true, "create 1"},
		{"unavailable once it was made", `{"method": "GET", "path": "/servers/", "status": 503}`, exitFailed, []string{"(unavailable) (hcloud_server.cinnabar)"}, true, "replace hcloud_server.cinnabar"},
		{"no room for it", `{"method": "POST", "path": "/servers", "status": 412}`, exitFailed, []string{"(resource_unavailable) (hcloud_server.cinnabar)"}, false, "create 1"},
		{"its creation fails", `{"method": "POST", "path": "/servers", "action": "resource_unavailable"}`, exitFailed, []string{"(resource_unavailable, "}, false, "replace hcloud_server.cinnabar"},
	} {
		t.Run(f.name, func(t *testing.T) {
			tr := tr.with(t)
			defer tr.wipe()
			tr.fault(f.fault)
			r := tr.cinnabar(f.code, onlyServer...)
			r.want(t, f.code, f.says...)
			if f.code != 0 {
				r.want(t, f.code, "done: hcloud_ssh_key.admin (created)", "failed: hcloud_server.cinnabar (creating)", "the next plan goes on from there")
			}
			if strings.Contains(r.stderr, notKnown) != f.unsure {
				t.Errorf("whether it is there is known: %v, and it says:\n%s", !f.unsure, r.stderr)
			}
			if left := tr.ask("GET", tr.fleet.CloudControl()+"/faults", ""); left != "[]" {
				t.Errorf("it did not happen: %s", left)
			}
			tr.cloudHas(`"running_actions":[]`)
			tr.cinnabar(0, onlyServer...).want(t, 0, "terraform apply terraform/cinnabar: "+f.next)
		})
	}
	t.Run("terraform is killed", func(t *testing.T) { orphaned(tr.with(t)) })
	t.Run("infra is killed", func(t *testing.T) { abandoned(tr.with(t)) })
	t.Run("Ctrl-C", func(t *testing.T) { interrupted(tr.with(t)) })
	tr.tokenNowhere()
}

// wipe makes the cloud and the state empty.
func (tr *trial) wipe() {
	tr.Helper()
	api := "http://" + tr.fleet.CloudAddress() + "/v1"
	tr.ask("DELETE", tr.fleet.CloudControl()+"/faults", "")
	tr.cloudHas(`"running_actions":[]`)
	var has struct {
		Servers []struct{ ID int }
		Keys    []struct{ ID int } `json:"ssh_keys"`
	}
	if err := json.Unmarshal([]byte(tr.inCloud()), &has); err != nil {
		tr.Fatal(err)
	}
	for _, s := range has.Servers {
		tr.ask("DELETE", fmt.Sprintf("%s/servers/%d", api, s.ID), "")
	}
	for _, k := range has.Keys {
		tr.ask("DELETE", fmt.Sprintf("%s/ssh_keys/%d", api, k.ID), "")
	}
	tr.cloudHas(nothingThere)
	states, err := filepath.Glob(filepath.Join(tr.fleet.Project(), "terraform", "cinnabar", "terraform.tfstate*"))
	for _, s := range states {
		if err == nil {
			err = os.Remove(s)
		}
	}
	if err != nil {
		tr.Fatal(err)
	}
}

// operator is who calls infra in the project and does not wait for its end.
func (tr *trial) operator() *operator { return &operator{tr.T, tr.fleet, tr.fleet.Project(), "infra"} }

// creating starts a run, and returns once the cloud makes the server and
// terraform has heard of it. That takes so many seconds more.
func (tr *trial) creating(seconds int, args ...string) (*operator, *calling) {
	tr.Helper()
	log := filepath.Join(tr.fleet.State(), "logs", "hetzner.log")
	polls := func() int {
		text, err := os.ReadFile(log)
		if err != nil {
			tr.Fatal(err)
		}
		return strings.Count(string(text), "GET /v1/actions")
	}
	before := polls()
	tr.fault(fmt.Sprintf(`{"method": "POST", "path": "/servers", "slow": %d}`, seconds))
	o := tr.operator()
	c := o.start(slices.Concat([]string{"run", "--ssh-config", tr.fleet.SSHConfig(), cinnabarPlan}, tr.passing(cinnabarPlan), onlyServer, args)...)
	tr.cloudHas(`"name":"cinnabar"`)
	for end := time.Now().Add(patience); polls() == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			tr.Fatalf("terraform never heard of the server:\n%s", c.said())
		}
	}
	return o, c
}

// applies are the processes of terraform that apply something of this fleet.
func (tr *trial) applies() (pids []int) {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range paths {
		argv, _ := os.ReadFile(p)
		if !strings.Contains(string(argv), "terraform\x00apply\x00-json") {
			continue
		}
		cwd, _ := os.Readlink(filepath.Join(filepath.Dir(p), "cwd"))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		if err == nil && strings.HasPrefix(cwd, tr.fleet.State()+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

var exists = regexp.MustCompile(`hcloud_server "cinnabar" exists \(id ([0-9]+)\) and the state lacks it`)

// orphaned kills terraform: what it was making exists, and no state has it.
func orphaned(tr *trial) {
	defer tr.wipe()
	o, c := tr.creating(1)
	pids := tr.applies()
	if len(pids) != 1 {
		tr.Fatalf("terraform is %v:\n%s", pids, c.said())
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		tr.Fatal(err)
	}
	o.ends(c, exitFailed, "terraform was ended by KILL", "done: hcloud_ssh_key.admin (created)", "in flight when it ended: hcloud_server.cinnabar (creating)",
		"it is not known whether this was made, and the next plan looks for it: hcloud_server.cinnabar")
	tr.tokenless(c.said())
	tr.cloudHas(`"running_actions":[]`)

	r := tr.cinnabar(exitFailed, onlyServer...)
	if strings.Contains(r.stderr, "uniqueness_error") {
		tr.Error("it tried to create it once more")
	}
	found := exists.FindStringSubmatch(r.stderr)
	if found == nil {
		tr.Fatalf("it does not say %s:\n%s", exists, r.stderr)
	}
	r.want(tr.T, exitFailed, "was cut short, while it created hcloud_server.cinnabar", `"import": [{"to": "hcloud_server.cinnabar", "id": "`+found[1]+`"}] in the configuration, or delete it`)

	// Either way out is one.
	const output = "output.ipv4.value"
	imports := fmt.Sprintf("import = [ { to = \"hcloud_server.cinnabar\"; id = \"%s\"; } ];\n        ", found[1])
	tr.edit("flake.nix", output, imports+output)
	tr.cinnabar(0, "--step", "server", "--dry-run").want(tr.T, 0, "hcloud_server.cinnabar (id "+found[1]+")")
	tr.edit("flake.nix", imports, "")
	tr.cinnabar(exitFailed, onlyServer...).want(tr.T, exitFailed, "exists (id "+found[1]+")") // a dry run has settled nothing
	tr.ask("DELETE", "http://"+tr.fleet.CloudAddress()+"/v1/servers/"+found[1], "")
	tr.cloudHas(`"servers":[]`)
	tr.cinnabar(0, onlyServer...).want(tr.T, 0, "terraform apply terraform/cinnabar: create 1", "hcloud_server.cinnabar created")
}

// abandoned kills infra: terraform ends by itself, and its state has the server.
func abandoned(tr *trial) {
	defer tr.wipe()
	_, c := tr.creating(1)
	_ = c.Process.Kill()
	<-c.ended
	for end := time.Now().Add(patience); len(tr.applies()) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			tr.Fatal("terraform does not end")
		}
	}
	tr.cloudHas(`"running_actions":[]`)
	r := tr.infra("resume", "last")
	r.want(tr.T, exitFailed, "finding out what became of it: terraform/cinnabar is half applied", "planned: create 2", "left:    replace hcloud_server.cinnabar", "infra run plans what is left")
	tr.tokenless(r.stdout + r.stderr)
	tr.cinnabar(0, onlyServer...).want(tr.T, 0, "terraform apply terraform/cinnabar: replace hcloud_server.cinnabar", "hcloud_server.cinnabar created")
}

// interrupted asks infra to stop: terraform ends what it has begun, or leaves
// it half done where it may take no longer.
func interrupted(tr *trial) {
	defer tr.wipe()
	o, c := tr.creating(1)
	_ = c.Process.Signal(os.Interrupt)
	o.ends(c, exitInterrupted, "stopping: nothing new starts, what runs may end", "hcloud_server.cinnabar created")
	tr.cinnabar(0, onlyServer...).want(tr.T, 0, "nothing to do")
	tr.wipe()

	o, c = tr.creating(1, "--grace", "50ms")
	_ = c.Process.Signal(os.Interrupt)
	o.ends(c, exitInterrupted, "was interrupted; done: hcloud_ssh_key.admin (created); failed: hcloud_server.cinnabar (creating); the state holds what was done")
	tr.tokenless(c.said())
	tr.cloudHas(`"running_actions":[]`)
	tr.cinnabar(0, onlyServer...).want(tr.T, 0, "terraform apply terraform/cinnabar: replace hcloud_server.cinnabar", "hcloud_server.cinnabar created")
}

// TestTerraformsFolders is about folders that need no provider.
func TestTerraformsFolders(t *testing.T) {
	tr := newCloud(t)
	t.Run("one folder, one step at a time", func(t *testing.T) { oneFolder(tr.with(t)) })
	t.Run("two folders, side by side", func(t *testing.T) { twoFolders(tr.with(t)) })
	t.Run("the state is locked", func(t *testing.T) { locked(tr.with(t)) })
	t.Run("the state is another than was planned on", func(t *testing.T) { stale(tr.with(t)) })
	t.Run("a provider that is missing", func(t *testing.T) {
		tr := tr.with(t)
		mirror := t.TempDir()
		rc := filepath.Join(mirror, "terraformrc")
		if err := os.WriteFile(rc, fmt.Appendf(nil, "provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror), 0o600); err != nil {
			t.Fatal(err)
		}
		tr.infra(append([]string{"TF_CLI_CONFIG_FILE=" + rc, "run", "--ssh-config", tr.fleet.SSHConfig(), "--step", "server", cinnabarPlan}, tr.passing(cinnabarPlan)...)...).
			want(t, exitFailed, "terraform init of ", "hetznercloud/hcloud was not found", mirror)
		tr.cinnabar(0, "--dry-run", "--step", "server")
	})
	t.Run("a mistake in the configuration", func(t *testing.T) {
		tr := tr.with(t)
		const good = "output \"address\" { value = \"192.0.2.1\" }\n"
		tr.write("terraform/mistaken/main.tf", good+"resource \"terraform_data\" {\n")
		tr.write("plans/mistaken.star", "def read():\n    tf = terraform.dir(\"terraform/mistaken\")\n    tf.apply(tf.plan())\n    log(\"it is \" + tf.output(\"adress\"))\n\nmistaken = plan(steps = [step(read)])\n")
		tr.plan("plans/mistaken.star").want(t, exitFailed, "terraform/mistaken/main.tf:2", "Unclosed configuration block")
		tr.write("terraform/mistaken/main.tf", good)
		tr.plan("plans/mistaken.star").want(t, exitFailed, "there is no output adress; there are: address", "did you mean address?")
		tr.edit("plans/mistaken.star", "adress", "address")
		tr.plan("plans/mistaken.star").want(t, 0, "it is 192.0.2.1", "no change")
	})
}

// applying is a plan whose steps each apply a folder, in a workspace of its own.
func (tr *trial) applying(steps ...[3]string) {
	tr.Helper()
	var text, names strings.Builder
	for i, s := range steps {
		fmt.Fprintf(&text, `
def s%d():
    config = {"resource": {"terraform_data": {"x": {"provisioner": {"local-exec": {"command": %q}}}}}}
    tf = terraform.dir(%q, workspace = %q, config = config)
    tf.apply(tf.plan())
`, i, s[2], s[0], s[1])
		fmt.Fprintf(&names, "step(s%d), ", i)
	}
	tr.write("plans/applying.star", text.String()+"applying = plan(steps = ["+names.String()+"])\n")
}

// oneFolder applies one folder in two workspaces: terraform itself would let them
// be applied at once.
func oneFolder(tr *trial) {
	dir := tr.TempDir()
	alone := fmt.Sprintf("mkdir %[1]s/inside || exit 1; sleep 0.3; rmdir %[1]s/inside; echo x >> %[1]s/done", dir) // one that comes in between fails
	tr.applying([3]string{"terraform/one", "a", alone}, [3]string{"terraform/../terraform/one", "b", alone})
	tr.plan("plans/applying.star", "--destroy", "one").want(tr.T, 0, "2 steps ok", "2 changes")
	if done, err := os.ReadFile(filepath.Join(dir, "done")); string(done) != "x\nx\n" {
		tr.Errorf("they left %q: %v", done, err)
	}
}

// twoFolders applies two folders, each of which ends once the other has begun.
func twoFolders(tr *trial) {
	dir := tr.TempDir()
	meets := "touch %s/%s; for i in $(seq 3000); do test -e %[1]s/%[3]s && exit 0; sleep 0.02; done; exit 1"
	tr.applying([3]string{"terraform/two", "default", fmt.Sprintf(meets, dir, "two", "three")}, [3]string{"terraform/three", "default", fmt.Sprintf(meets, dir, "three", "two")})
	tr.plan("plans/applying.star", "--destroy", "two", "--destroy", "three").want(tr.T, 0, "2 steps ok", "2 changes")
}

// byHand is terraform as a person calls it in a folder of the project.
func (tr *trial) byHand(folder string, args ...string) *exec.Cmd {
	cmd := exec.Command("terraform", args...)
	cmd.Dir, cmd.Env = filepath.Join(tr.fleet.Project(), folder), append(append(os.Environ(), tr.fleet.Env()...), "CHECKPOINT_DISABLE=1")
	return cmd
}

// locked holds the state's lock with a console that a person has open.
func locked(tr *trial) {
	const folder = "terraform/held"
	tr.write(folder+"/main.tf", "resource \"terraform_data\" \"x\" {\n  input = 1\n}\n")
	held := "def apply():\n    tf = terraform.dir(\"terraform/held\"%s)\n    tf.apply(tf.plan())\n\nheld = plan(steps = [step(apply)])\n"
	tr.write("plans/held.star", fmt.Sprintf(held, ""))
	tr.write("plans/impatient.star", fmt.Sprintf(held, `, lock_timeout = "10ms"`))
	console := tr.byHand(folder, "console")
	in, err := console.StdinPipe()
	if err == nil {
		err = console.Start()
	}
	if err != nil {
		tr.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = console.Wait() }()
	info := filepath.Join(tr.fleet.Project(), folder, ".terraform.tfstate.lock.info")
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if text, err := os.ReadFile(info); err == nil && json.Valid(text) {
			break
		}
		if time.Now().After(end) {
			tr.Fatal("the console locks nothing")
		}
	}
	tr.plan("plans/impatient.star").want(tr.T, exitFailed, "the state is locked, held by ", ", id ", "if nothing of that holder runs any more: ", "force-unlock ")
	o := tr.operator()
	c := o.start("run", "--ssh-config", tr.fleet.SSHConfig(), "plans/held.star")
	o.says(c, "  the lock of the state is waited for (held by ")
	_ = in.Close()
	o.ends(c, 0, "  the lock of the state was waited for ", "terraform_data.x created", "1 change")
}

// stale has a person apply something between a run's plan and its apply.
func stale(tr *trial) {
	const folder = "terraform/stale"
	tr.write(folder+"/main.tf", "resource \"terraform_data\" \"x\" {\n  input = 1\n}\n")
	tr.write("plans/stale.star", `
def apply():
    tf = terraform.dir("terraform/stale")
    p = tf.plan()
    local.run("touch planned; until test -e go; do sleep 0.02; done", reads = True)
    tf.apply(p)

stale = plan(steps = [step(apply)])
`)
	o := tr.operator()
	c := o.start("run", "--ssh-config", tr.fleet.SSHConfig(), "plans/stale.star")
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(tr.fleet.Project(), "planned")); err == nil {
			break
		}
		if time.Now().After(end) {
			tr.Fatalf("it plans nothing:\n%s", c.said())
		}
	}
	if out, err := tr.byHand(folder, "apply", "-auto-approve", "-no-color").CombinedOutput(); err != nil {
		tr.Fatalf("%v: %s", err, out)
	}
	tr.write("go", "")
	o.ends(c, exitFailed, "the state has changed since the plan was made", "somebody else applied something; plan again")
	tr.plan("plans/stale.star").want(tr.T, 0, "nothing to do")
}

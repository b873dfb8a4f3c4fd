package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
)

// A run of many hosts, one command each, is measured as a whole, and then what
// its journal costs when nothing hides it: the same records by as many workers,
// with nothing else to do. In the run itself they wait while others work.
const (
	manyHosts    = 500
	manyRuns     = 3
	journalShare = 0.05
)

const manyPlan = `
hosts = [host("h%%d" %% i, system = "x86_64-linux", ssh = "root@127.99.%%d.%%d" %% (i // 250, i %% 250 + 1)) for i in range(%d)]
def act(host):
    ssh.run(host, ["true"])
many = plan(hosts = hosts, steps = [step(act, each = hosts)])
`

// benchHosts measures a run over real sshd connections, and the journal's part.
func benchHosts(ctx context.Context, out io.Writer, dir string) error {
	stop, err := startSSHD(ctx, dir)
	if err != nil {
		return err
	}
	defer stop()
	if err := os.WriteFile(filepath.Join(dir, "many.star"), fmt.Appendf(nil, manyPlan, manyHosts), 0o644); err != nil {
		return err
	}
	var runs, records []figure
	for i := range manyRuns + 1 {
		run, err := measure(ctx, dir, []string{filepath.Join(dir, "infra"), "run", "--ssh-config", "ssh_config", "many.star"})
		if err != nil {
			return err
		}
		took, err := recording(dir, recordWorkers, manyHosts, recordHost)
		if err != nil {
			return err
		}
		if i > 0 { // the first is a warm-up
			runs, records = append(runs, run), append(records, figure{wall: took})
		}
	}
	whole, record := median(runs), median(records)
	share := record.wall.Seconds() / whole.wall.Seconds()
	fmt.Fprintln(out, "\n| one command on each of many hosts | wall | cpu | memory | its journal alone | share |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|")
	fmt.Fprintf(out, "| %d hosts | %s | %.0f ms | %.1f %% |\n", manyHosts, whole, record.wall.Seconds()*1000, share*100)
	if share > journalShare {
		return fmt.Errorf("the journal takes %.1f %% of a run of %d hosts, and should stay under %.0f %%", share*100, manyHosts, journalShare*100)
	}
	return nil
}

// recordHost records a step of one operation on one host.
func recordHost(j *journal.Journal, id, _ int) error {
	host := fmt.Sprintf("h%d", id)
	op := &runtime.OpEvent{ID: id, Op: runtime.Op{Name: "ssh.run", Host: host, Effect: runtime.Change, Show: "true"}}
	for _, e := range []runtime.Event{
		{Kind: runtime.StepStarted}, {Kind: runtime.OpAsked, Op: op},
		{Kind: runtime.OpEnded, Op: op, Status: runtime.OK}, {Kind: runtime.StepEnded, Status: runtime.OK},
	} {
		e.Run, e.Step, e.Host, e.Time = "bench", "act", host, time.Now()
		if err := j.Record(e); err != nil {
			return err
		}
	}
	return nil
}

// startSSHD starts one sshd for all the addresses, and writes what a client
// needs to reach them into dir.
func startSSHD(ctx context.Context, dir string) (stop func(), err error) {
	for _, key := range []string{"host", "user"} {
		if out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ssh-keygen: %w\n%s", err, out)
		}
	}
	public, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"sshd_config": fmt.Sprintf("Port %d\nHostKey %s/host\nAuthorizedKeysFile %s/user.pub\nStrictModes no\nMaxStartups 1000\nPidFile none\nUsePAM no\nSetEnv HOME=%s\n", port, dir, dir, dir),
		"ssh_config":  fmt.Sprintf("Host 127.99.*\n  Port %d\n  IdentityFile %s/user\n  IdentitiesOnly yes\n  UserKnownHostsFile %s/known_hosts\n", port, dir, dir),
		"known_hosts": fmt.Sprintf("[127.99.*]:%d %s", port, public),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return nil, err
	}
	sshd := exec.CommandContext(ctx, "/usr/sbin/sshd", "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	if err := sshd.Start(); err != nil {
		return nil, err
	}
	stop = func() { _ = sshd.Process.Kill(); _ = sshd.Wait() }
	for range 500 {
		c, err := net.Dial("tcp", fmt.Sprintf("127.99.0.1:%d", port))
		if err == nil {
			return stop, c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("sshd does not listen on port %d", port)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

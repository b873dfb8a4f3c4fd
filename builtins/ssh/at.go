package ssh

import (
	"fmt"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
	"infra/runtime/remote"
)

var atSpec = call.Spec{
	Name:  "ssh.at",
	Level: call.Anywhere,
	Doc: "The same host as it is reached at an address, which a dry run need not know yet: what the plan asks of the host is then shown, and neither carried out nor predicted. " +
		"User, keys and jump hosts are those of the host's own ssh configuration. The machine's key is always checked: it is the given one; or else the one that known_hosts has for the host's own name, " +
		"never for the address; or, where the plan says so, the one that it showed at first contact, which .infra/known_hosts records and a line of the step tells.",
	Returns: "host",
	Example: `address = ssh.run(vps, "echo $SSH_CONNECTION", reads = True).stdout.split()[2]
ssh.wait(ssh.at(vps, address), timeout = "30s")
new = ssh.at(vps, address, trust = "first-use", instance = "server 42")
ssh.run(new, ["true"])
pinned = ssh.at(vps, address, key = ssh.get(vps, "/etc/ssh/ssh_host_ed25519_key.pub"))
log("%s is at %s" % (pinned.name, pinned.address))
`,
}

type atArgs struct {
	Host     *runtime.Host `arg:"host" doc:"which host, as the plan lists it"`
	Address  call.Late     `arg:"address" doc:"a name or an IP address, with :port where it is not that of the host's ssh configuration"`
	Key      call.Late     `arg:"key,keyword" default:"" doc:"the machine's public host key, \"ssh-ed25519 AAAA...\", or several, a line each: no other is accepted, and known_hosts is not asked"`
	Trust    string        `arg:"trust,keyword" default:"known" doc:"where no key is given: \"known\" asks known_hosts for the host's own name, \"first-use\" accepts the first key that it shows, and from then on that one"`
	Instance call.Late     `arg:"instance,keyword" default:"" doc:"which machine of that name it is, such as the provider's id of the server: with another one, first use is first use again"`
}

func (m module) at(c *call.Call, a atArgs) (starlark.Value, error) {
	p := runtime.Place{Address: a.Address.Text, Key: a.Key.Text, Trust: runtime.Trust(a.Trust), Instance: a.Instance.Text}
	for _, late := range []call.Late{a.Address, a.Key, a.Instance} {
		if p.Pending == nil {
			p.Pending = late.Unknown
		}
	}
	if p.Trust != runtime.TrustKnown && p.Trust != runtime.TrustFirstUse {
		return nil, runtime.WithHint(fmt.Errorf("ssh.at: trust: %q is no trust", a.Trust), `"known" or "first-use"; a key that is never checked there is not`)
	}
	if a.Address.Unknown == nil {
		if _, _, err := remote.ParseAddress(p.Address); err != nil {
			return nil, fmt.Errorf("ssh.at: address: %w", err)
		}
	}
	if a.Key.Given && a.Key.Unknown == nil {
		pins, err := remote.ParsePins(p.Key)
		if err != nil {
			return nil, fmt.Errorf("ssh.at: key: %w", err)
		}
		p.Key = pins
	}
	return a.Host.At(p), nil
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"infra/examples/lab/fleet"
)

// hostStatus is one row of the table, and one object of --json.
type hostStatus struct {
	Name      string `json:"name"`
	Up        bool   `json:"up"`
	Systemd   bool   `json:"systemd"`
	Cloud     bool   `json:"cloud"`
	Address   string `json:"address"`
	For       string `json:"stands_in_for"`
	System    string `json:"current_system,omitempty"`
	StoreSize int64  `json:"store_bytes"`
}

func statusCommand(o *fleet.Options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show which hosts are up and what runs on them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := fleet.Open(o.State)
			if err != nil {
				return err
			}
			hosts, err := statusOf(f)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(hosts)
			}
			return printStatus(cmd.OutOrStdout(), hosts)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON list")
	return cmd
}

func statusOf(f *fleet.Fleet) ([]hostStatus, error) {
	running, err := f.Running()
	if err != nil {
		return nil, err
	}
	var rows []hostStatus
	for _, h := range f.Hosts() {
		row := hostStatus{Name: h.Name, Systemd: h.Systemd, Cloud: h.Cloud, Address: fmt.Sprintf("%s:%d", h.Address, fleet.Port), For: h.System}
		if row.Up = running[h.Name] != 0; row.Up {
			files, err := f.Files(h.Name)
			if err != nil {
				return nil, err
			}
			row.System = files[currentSystem].Target
			row.StoreSize = storeSize(files)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func storeSize(files map[string]fleet.File) int64 {
	var sum int64
	for name, file := range files {
		if strings.HasPrefix(name, "/nix/store/") && file.Digest != "" {
			sum += file.Size
		}
	}
	return sum
}

func printStatus(out io.Writer, rows []hostStatus) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tSTATE\tADDRESS\tSTANDS IN FOR\tSTORE\tCURRENT SYSTEM")
	for _, r := range rows {
		state, system := "down", "-"
		if r.Up {
			state = "up"
		}
		if r.Systemd {
			state += ", systemd"
		}
		if r.Cloud {
			state += ", cloud"
		}
		if r.System != "" {
			system = r.System
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.1f KB\t%s\n", r.Name, state, r.Address, r.For, float64(r.StoreSize)/1000, system)
	}
	return w.Flush()
}

package terraform

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"infra/builtins/internal/call"
	"infra/runtime"
)

// paid are the types of resources that usually cost money as long as they are
// there.
var paid = []string{
	"hcloud_server", "hcloud_volume", "hcloud_load_balancer", "hcloud_floating_ip", "hcloud_primary_ip", "hcloud_snapshot",
	"aws_instance", "aws_ebs_volume", "aws_eip", "aws_lb", "aws_nat_gateway", "aws_db_instance", "aws_rds_cluster", "aws_eks_cluster",
	"google_compute_instance", "google_compute_disk", "google_compute_address", "google_container_cluster", "google_sql_database_instance",
	"azurerm_linux_virtual_machine", "azurerm_windows_virtual_machine", "azurerm_managed_disk", "azurerm_public_ip", "azurerm_kubernetes_cluster",
	"digitalocean_droplet", "digitalocean_volume", "digitalocean_loadbalancer", "digitalocean_kubernetes_cluster", "digitalocean_database_cluster",
}

// checkPatterns refuses a pattern that would match nothing by mistake: what it
// is to protect would not be.
func checkPatterns(patterns []string) error {
	for _, p := range patterns {
		if p == "" {
			return fmt.Errorf("a pattern is empty")
		}
		if _, err := path.Match(p, ""); err != nil && !strings.Contains(p, `["`) {
			return runtime.WithHint(fmt.Errorf("%q is no pattern of addresses", p), `"hcloud_volume.*" is one; an address as terraform prints it is one too`)
		}
	}
	return nil
}

// matches says whether a pattern is one of an address: whole, without the
// modules it is in, or without the keys of instances. A name within a key, with
// a slash maybe, is like any other.
func matches(patterns []string, address string) bool {
	forms := []string{address, inModule(address), bare(address), bare(inModule(address))}
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		return slices.ContainsFunc(forms, func(form string) bool {
			if form == pattern {
				return true
			}
			ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(form, "/", "\x00"))
			return ok && err == nil
		})
	})
}

// guard refuses what a plan may not do here.
func (d *directory) guard(p planRecord) error {
	var hit []string
	for _, address := range slices.Concat(p.deletes, p.replaces) {
		if matches(d.protect, address) {
			hit = append(hit, address)
		}
	}
	if len(hit) == 0 {
		return nil
	}
	return runtime.WithHint(fmt.Errorf("it would delete or replace what is protected: %s", strings.Join(hit, ", ")),
		"nothing was done; protect = %s says so, in terraform.dir(%q)", quote(d.protect), d.shown)
}

// expensive says whether a change begins to cost money.
func (d *directory) expensive(c change) bool {
	return (c.Action == create || c.Action == replace) && (slices.Contains(d.costs, c.Type) || matches(d.costs, c.Type) || matches(d.costs, c.Address))
}

// noSuchOutput says which outputs there are.
func noSuchOutput(name string, names []string) error {
	if len(names) == 0 {
		return runtime.WithHint(fmt.Errorf("there is no output %s, and none at all", name), "an output is there once it was applied")
	}
	err := fmt.Errorf("there is no output %s; there are: %s", name, strings.Join(names, ", "))
	if near := call.Nearest(name, names); near != "" {
		return runtime.WithHint(err, "did you mean %s?", near)
	}
	return runtime.WithHint(err, "an output that is new is there once it was applied")
}

package terraform

import (
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"
)

// origins tells from which resource an output gets what is not known yet.
type origins struct {
	config  *tfjson.Config
	changes []change
}

// of is the address of that resource, or "" where the configuration does not
// tell: what goes through a local value is not followed by terraform.
func (o origins) of(name string) string {
	if o.config == nil || o.config.RootModule == nil {
		return ""
	}
	out := o.config.RootModule.Outputs[name]
	if out == nil {
		return ""
	}
	var found []string
	follow(o.config.RootModule, "", out.Expression, &found)
	best, changing := "", false
	for _, address := range found {
		now := slices.ContainsFunc(o.changes, func(c change) bool {
			return c.Address == address || bare(c.Address) == address
		})
		if now && !changing || now == changing && len(address) > len(best) {
			best, changing = address, now
		}
	}
	return best
}

// follow collects the addresses of the resources that an expression refers to,
// through the outputs of modules.
func follow(in *tfjson.ConfigModule, prefix string, e *tfjson.Expression, found *[]string) {
	for _, ref := range references(e) {
		words := splitAddress(ref)
		switch {
		case len(words) < 2:
		case words[0] == "module":
			call := in.ModuleCalls[bare(words[1])]
			if call == nil || call.Module == nil || len(words) < 3 {
				continue
			}
			if out := call.Module.Outputs[bare(words[2])]; out != nil {
				follow(call.Module, prefix+"module."+words[1]+".", out.Expression, found)
			}
		case words[0] == "data" && len(words) > 2:
			*found = append(*found, prefix+strings.Join(words[:3], "."))
		case !slices.Contains(notResources, words[0]):
			*found = append(*found, prefix+strings.Join(words[:2], "."))
		}
	}
}

// notResources begin what is no reference to a resource.
var notResources = []string{"var", "local", "each", "count", "path", "self", "terraform", "data", "tofu"}

func references(e *tfjson.Expression) []string {
	if e == nil || e.ExpressionData == nil {
		return nil
	}
	return e.References
}

// splitAddress splits an address, or a reference, at its dots: not at those
// within the key of an instance.
func splitAddress(address string) []string {
	var words []string
	start, depth, quoted := 0, 0, false
	for i := 0; i < len(address); i++ {
		switch c := address[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == '.' && depth <= 0:
			words = append(words, address[start:i])
			start = i + 1
		}
	}
	return append(words, address[start:])
}

// bare is an address without the keys of instances.
func bare(address string) string {
	words := splitAddress(address)
	for i, w := range words {
		words[i], _, _ = strings.Cut(w, "[")
	}
	return strings.Join(words, ".")
}

// inModule is an address without the modules that it is in.
func inModule(address string) string {
	words := splitAddress(address)
	for len(words) > 2 && words[0] == "module" {
		words = words[2:]
	}
	return strings.Join(words, ".")
}

// installers are the bare addresses of resources that only exist for their
// provisioners: what those do, terraform neither knows nor takes back.
func installers(config *tfjson.Config) map[string]bool {
	found := map[string]bool{}
	if config != nil {
		gatherInstallers(found, config.RootModule, "")
	}
	return found
}

func gatherInstallers(found map[string]bool, in *tfjson.ConfigModule, prefix string) {
	if in == nil {
		return
	}
	for _, r := range in.Resources {
		if r != nil && len(r.Provisioners) > 0 && (r.Type == "terraform_data" || r.Type == "null_resource") {
			found[prefix+r.Type+"."+r.Name] = true
		}
	}
	for name, call := range in.ModuleCalls {
		if call != nil {
			gatherInstallers(found, call.Module, prefix+"module."+name+".")
		}
	}
}

// installs says whether a change runs provisioners that install.
func installs(c change, installers map[string]bool) bool {
	return (c.Action == create || c.Action == replace) && installers[bare(c.Address)]
}

// Package secrets is the module secrets of the plan language: where a plan's
// secrets come from, and how they are put together. Every value it hands out
// is a [runtime.Secret].
//
//	secrets.sops(file) -> sops_file           # reads; in a step
//	    f["db.password"]                      # a secret: maps by key, lists by number ("users.0.name")
//	    f.content                             # the whole plain file as a secret
//	    f.keys()                              # the names at the top; not secret
//	secrets.set(file, path, value)            # changes one value in place
//	secrets.recipients(file) -> list          # reads; needs no key
//	secrets.check(file) -> struct             # reads
//	secrets.rotate(file)                      # changes the data key and the recipients
//	secrets.env(name) -> secret               # reads; in a step
//	secrets.template(text, values = {}) -> secret
//
// Values that a partly encrypted file keeps in clear are secrets too: sops
// authenticates them, and a plan need not know which is which.
package secrets

import (
	"infra/builtins/internal/call"
	"infra/builtins/internal/sops"
	"infra/runtime"
)

// A module is what every function of secrets works with.
type module struct {
	root  string // of the project
	files *sops.Reader
}

// Specs lists the module's functions. Plain file names are relative to root,
// the project's folder; files decrypts them.
func Specs(root string, files *sops.Reader) []call.Spec {
	m := module{root, files}
	return []call.Spec{
		call.New(call.Spec{
			Name:   "secrets.sops",
			Level:  call.InStep,
			Effect: runtime.Read,
			Doc: "Decrypts a file that sops encrypted. " +
				"Identities are found where sops finds them, and the file is refused if it was changed since it was encrypted. " +
				"Index the result with a dotted path; every value is a secret. Of keys that contain dots, the longest that fits is taken.",
			Returns: "sops_file",
			Fields: []call.Field{
				{Name: "content", Type: "secret", Doc: "the whole plain file"},
				{Name: "keys", Type: "function", Doc: "keys() lists the names at the top, which are not secret"},
			},
			Example: `token = secrets.sops("secrets/cinnabar.yaml")["hcloud.token"]` + "\n",
		}, m.sops),
		call.New(recipientsSpec, m.recipients),
		call.New(checkSpec, m.check),
		call.New(setSpec, m.set),
		call.New(rotateSpec, m.rotate),
		call.New(call.Spec{
			Name:    "secrets.env",
			Level:   call.InStep,
			Effect:  runtime.Read,
			Doc:     "Takes a secret from infra's own environment. A variable that is unset or empty is an error.",
			Returns: "secret",
			Example: `token = secrets.env("HCLOUD_TOKEN")` + "\n",
		}, env),
		call.New(call.Spec{
			Name:  "secrets.template",
			Level: call.Anywhere,
			Doc: "Puts strings and secrets into a text. " +
				"Each {name} is replaced by its value; {{ and }} are braces. The result is a secret.",
			Returns: "secret",
			Example: `db = secrets.sops("secrets/cinnabar.yaml")` + "\n" +
				`url = secrets.template("postgres://{user}:{password}@db/app", values = {` + "\n" +
				`    "user": "app",` + "\n" +
				`    "password": db["db.password"],` + "\n" +
				`})` + "\n",
		}, template),
	}
}

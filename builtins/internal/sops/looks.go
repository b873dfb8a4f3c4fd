package sops

import (
	"os"
	"path/filepath"
	goruntime "runtime"

	sopsage "github.com/getsops/sops/v3/age"

	"infra/builtins/internal/file"
)

// Looks are the files of which the plain text is made, for [runtime.Op]: the
// sops file, and those that may hold an identity. What else decides whether
// there is a key, a key command, a plugin or a cloud, never alters what the
// file says.
func (f File) Looks() []string { return namesOf(append(identityFiles(), f.Path())) }

// LooksWithRules are Looks, and where the rules for the file may be.
func (f File) LooksWithRules() []string {
	return namesOf(append(append(identityFiles(), f.Path()), f.rulesLooks()...))
}

func namesOf(paths []string) []string {
	looks := []string{}
	for _, path := range paths {
		names := file.Names(path)
		if names == nil {
			return nil
		}
		looks = append(looks, names...)
	}
	return looks
}

// identityFiles are the files that places reads.
func identityFiles() []string {
	var files []string
	for _, name := range []string{sopsage.SopsAgeKeyFileEnv, sopsage.SopsAgeSshPrivateKeyFileEnv} {
		if path := os.Getenv(name); path != "" && !holdsKey(path) {
			files = append(files, path, path+".pub")
		}
	}
	home, _ := os.UserHomeDir()
	files = append(files, keyFiles(goruntime.GOOS, home, os.Getenv("XDG_CONFIG_HOME"))...)
	if home == "" {
		return files
	}
	return append(files, filepath.Join(home, ".ssh"))
}

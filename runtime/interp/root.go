package interp

import (
	"os"
	"path/filepath"
)

// rootMarks are the files whose folder is a project's root, the most telling
// first.
var rootMarks = []string{"infra.toml", "flake.nix", ".git"}

// FindRoot returns the root of the project that dir belongs to: the nearest
// folder upwards with an infra.toml, else with a flake.nix, else with a .git,
// else dir itself.
func FindRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	for _, mark := range rootMarks {
		for d := dir; ; d = filepath.Dir(d) {
			if _, err := os.Stat(filepath.Join(d, mark)); err == nil {
				return d, nil
			}
			if d == filepath.Dir(d) {
				break
			}
		}
	}
	return dir, nil
}

// PlanFiles are the files of a project in which its plans are looked for, and what
// they share: those of its root, and of its folder plans.
func PlanFiles(root string) []string {
	var all []string
	for _, pattern := range []string{"*.star", "plans/*.star"} {
		paths, _ := filepath.Glob(filepath.Join(root, pattern)) // fails only for a bad pattern
		all = append(all, paths...)
	}
	return all
}

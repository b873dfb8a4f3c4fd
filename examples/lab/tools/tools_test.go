package tools

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestTheVersionsAreThoseOfTheModules: what a module builds is kept under the
// version that stands here.
func TestTheVersionsAreThoseOfTheModules(t *testing.T) {
	for _, tool := range []Tool{Tofu, Provider} {
		text, err := os.ReadFile(filepath.Join(tool.module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		module, _, _ := strings.Cut(tool.pkg, "/cmd/")
		if !strings.Contains(string(text), "\t"+module+" v"+tool.version+" // indirect\n") {
			t.Errorf("%s: the go.mod does not require %s v%s", tool.what, module, tool.version)
		}
		if !strings.Contains(string(text), "tool "+tool.pkg+"\n") {
			t.Errorf("%s: the go.mod has no tool %s", tool.what, tool.pkg)
		}
	}
}

// TestInstallKeepsWhatIsThere pretends that the tools were built, and would fail
// where they are built again: there is no checkout.
func TestInstallKeepsWhatIsThere(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("PATH", "/nowhere")
	if env := Env(); env != nil {
		t.Errorf("there is an environment before there are tools: %q", env)
	}
	if err := Install(t.Context(), t.Output(), "/nowhere", Provider); err == nil {
		t.Fatal("a provider was built of nothing")
	}
	for _, tool := range []Tool{Terraform, Provider, Tofu} {
		if err := os.MkdirAll(filepath.Dir(tool.target()), 0o755); err != nil {
			t.Fatal(err)
		}
		for path, content := range map[string]string{tool.target(): tool.what, tool.stamp(): tool.version} {
			if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := Install(t.Context(), t.Output(), "/nowhere", Terraform, Provider, Tofu); err != nil {
		t.Fatal(err)
	}
	for registry, host := range map[string]string{"terraform": "io", "opentofu": "org"} {
		text, err := os.ReadFile(filepath.Join(Folder(), "mirror", "registry."+registry+"."+host,
			"hetznercloud/hcloud", providerVersion, runtime.GOOS+"_"+runtime.GOARCH, "terraform-provider-hcloud_v"+providerVersion))
		if err != nil || string(text) != Provider.what {
			t.Errorf("%s finds %q, %v", registry, text, err)
		}
	}
	config, err := os.ReadFile(config())
	if err != nil || !strings.Contains(string(config), filepath.Join(Folder(), "mirror")) || strings.Contains(string(config), "direct") {
		t.Errorf("the configuration is\n%s%v", config, err)
	}
	if env := Env(); len(env) != 1 || !strings.HasPrefix(env[0], "TF_CLI_CONFIG_FILE="+Folder()) {
		t.Errorf("the environment is %q", env)
	}
	if err := os.WriteFile(Tofu.stamp(), []byte("1.0.0"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Install(t.Context(), t.Output(), "/nowhere", Tofu); err == nil {
		t.Error("an old version was kept")
	}
}

package clan

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestParseWanted(t *testing.T) {
	for _, tt := range []struct{ name, json, want string }{
		{"another backend", `{"machines": {"m": {"secretModule": "clan_cli.vars.secret_modules.password_store"}}}`, "keeps its secrets with the backend password_store"},
		{"age", `{"machines": {"m": {"secretModule": "clan_cli.vars.secret_modules.age"}}}`, "with the backend age"},
		{"a path for a name", `{"machines": {"m": {"generators": {"../x": {"files": {"f": {}}}}}}}`, `the var "../x/f"`},
		{"a path for a file", `{"machines": {"m": {"generators": {"g": {"files": {"..": {}}}}}}}`, `the var "g/.."`},
		{"no JSON", `{`, "nix printed something else"},
		{"a machine that is not there", `{"machines": {"m": {}}, "known": ["m", "blackphos"]}`, "the clan has no machine blackfos"},
	} {
		names := []string{"m"}
		if strings.Contains(tt.name, "not there") {
			names = append(names, "blackfos")
		}
		_, err := parseWanted([]byte(tt.json), names)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	for _, module := range []string{"", "sops", "clan_cli.vars.secret_modules.sops"} {
		data, _ := json.Marshal(map[string]any{"machines": map[string]any{"m": map[string]any{"secretModule": module}}})
		if _, err := parseWanted(data, nil); err != nil {
			t.Errorf("%q: %v", module, err)
		}
	}
}

func TestParseKeys(t *testing.T) {
	const key = "age1wkth7uhpkl555g40t8hjsysr20drq286netu8zptw50lmqz7j95sw2t3l7"
	for text, want := range map[string]string{
		`[{"publickey": "` + key + `", "type": "age"}]`: key,
		`{"publickey": "` + key + `", "type": "age"}`:   key,
		`[{"publickey": "` + key + `", "type": "age", "username": "x"}, {"publickey": "` + strings.Repeat("A", 40) + `", "type": "pgp"}]`: key + " " + strings.Repeat("A", 40),
		`[{"publickey": "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t", "type": "age"}]`:                       "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t",
		`[]`: "holds no key", ``: "no JSON", `"x"`: "no JSON", `[{}]`: "type", `null`: "type", `[1]`: "no JSON",
		`[{"publickey": "x", "type": "age"}]`:                "it is none",
		`[{"publickey": "` + key + `", "type": "ssh"}]`:      `type "ssh"`,
		`[{"publickey": "` + key + `x", "type": "age"}]`:     "it is none",
		`[{"publickey": "ssh-ed25519 x", "type": "age"}]`:    "it is none",
		`[{"publickey": "AGE-SECRET-KEY-1", "type": "age"}]`: "it is none",
	} {
		keys, err := parseKeys([]byte(text))
		got := strings.Join(keys, " ")
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestRecipientsOfEveryKind(t *testing.T) {
	s, err := parseSealed([]byte(`{"data": "", "sops": {"mac": "m", "age": [{"recipient": "b"}, {"recipient": "a"}], "pgp": [{"fp": "F"}],
		"kms": [{"arn": "arn"}], "gcp_kms": [{"resource_id": "gcp"}], "azure_kv": [{"vault_url": "az", "name": "n"}],
		"hc_vault": [{"vault_address": "hc", "key_name": "k"}], "hckms": [{"key_id": "hw"}], "key_groups": [{"age": [{"recipient": "a"}, {"recipient": "c"}]}]}}`))
	if err != nil || !s.empty || !slices.Equal(s.recipients, []string{"F", "a", "arn", "az/keys/n", "b", "c", "gcp", "hc/k", "hw"}) {
		t.Errorf("%+v, %v", s, err)
	}
}

package sops

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A file that was changed is refused, in words that show nothing of it.
func TestTampered(t *testing.T) {
	id := withKey(t)
	const plain = "token: plaintext-of-token\ncount_unencrypted: clear-value-one\nother: plaintext-of-other\nnumber: 4242424242\n"
	whole := seal(t, "a.yaml", plain, id.Recipient().String()).Bytes(t)
	line := regexp.MustCompile
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		want   string
	}{
		{"a byte of the data", replace(line(`(token: ENC\[AES256_GCM,data:)(.)`), "${1}~"), "a value in it does not decrypt"},
		{"other valid data", replace(line(`(token: ENC\[AES256_GCM,data:)[^,]{4}`), "${1}AAAA"), "a value in it does not decrypt"},
		{"the type of a value", replace(line(`(token: .*type:)str`), "${1}bytes"), "a value in it does not decrypt"},
		{"an unknown type", replace(line(`(token: .*type:)str`), "${1}zzz"), "a value in it does not decrypt"},
		{"a string for a number", replace(line(`(token: .*type:)str`), "${1}int"), "a value in it does not decrypt"},
		{"a byte of the mac", replace(line(`(mac: ENC\[AES256_GCM,data:)[^,]{4}`), "${1}AAAA"), "its MAC does not match"},
		{"no mac", replace(line(`    mac: .*\n`), ""), "its MAC does not match"},
		{"an empty mac", replace(line(`    mac: .*\n`), "    mac: \"\"\n"), "its MAC does not match"},
		{"a mac in clear", replace(line(`    mac: .*\n`), "    mac: plaintext-of-mac\n"), "its MAC does not match"},
		{"another date", replace(line(`lastmodified: "\d{4}`), `lastmodified: "1999`), "its MAC does not match"},
		{"a date that is none", replace(line(`lastmodified: .*`), `lastmodified: plaintext-of-date`), "is damaged"},
		{"a clear value", replace(line(`clear-value-one`), "clear-value-two"), "its MAC does not match"},
		{"a key removed", replace(line(`other: .*\n`), ""), "its MAC does not match"},
		{"a key renamed", replace(line(`other:`), "another:"), "a value in it does not decrypt"},
		{"plain text for ENC", replace(line(`token: ENC.*`), "token: plaintext-by-hand"), "should be encrypted is not"},
		{"a number for ENC", replace(line(`token: ENC.*`), "token: 4242424242"), "should be encrypted is not"},
		{"a key added", replace(line(`(?s)^`), "added: plaintext-by-hand\n"), "should be encrypted is not"},
		{"a list added", replace(line(`(?s)^`), "added: [{x: plaintext-by-hand}]\n"), "should be encrypted is not"},
		{"a number as key", replace(line(`(?s)^`), "17: plaintext-by-hand\n"), "a value in it does not decrypt"},
		{"truncated in the data", func(b []byte) []byte { return b[:60] }, "is not encrypted by sops"},
		{"truncated in the metadata", func(b []byte) []byte { return b[:bytes.Index(b, []byte("lastmodified"))] }, "is damaged"},
		{"truncated before the mac", func(b []byte) []byte { return b[:bytes.Index(b, []byte("    mac:"))] }, "its MAC does not match"},
		{"the wrapped key", replace(line(`BEGIN AGE ENCRYPTED FILE-----\n\s+\w`), "BEGIN AGE ENCRYPTED FILE-----\n                ~"), "no key here can decrypt"},
		{"no recipients", replace(line(`(?s)    age:.*lastmodified`), "    lastmodified"), "is damaged"},
		{"no YAML", func([]byte) []byte { return []byte("a: [plaintext-by-hand\n\t: {") }, "is damaged"},
		{"no map", func([]byte) []byte { return []byte("plaintext-by-hand") }, "is damaged"},
		{"a doubled key", replace(line(`(?s)^`), "token: plaintext-by-hand\n"), "is damaged"},
		{"never encrypted", func([]byte) []byte { return []byte(plain) }, "is not encrypted by sops"},
		{"empty", func([]byte) []byte { return nil }, "is not encrypted by sops"},
		{"a merge conflict", replace(line(`other: `), "\n<<<<<<< HEAD\nother: "), "marks of a merge conflict"},
		{"endless aliases", func([]byte) []byte { return []byte("a: 1\n---\na: &x [*x]\n") }, "is damaged"},
		{"very deep", func([]byte) []byte { return []byte("a: " + strings.Repeat("[", 1_000_000)) }, "is damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			data := c.change(bytes.Clone(whole))
			if bytes.Equal(data, whole) {
				t.Fatalf("nothing was changed in:\n%s", whole)
			}
			write(t, filepath.Join(root, "secrets/x.yaml"), data)
			_, err := open(t, root, "secrets/x.yaml")
			checkError(t, err, c.want, "secrets/x.yaml")
			checkError(t, err, "secrets/x.yaml", "")
			checkQuiet(t, err, "plaintext-", "clear-value", "4242424242", "AES256_GCM")
		})
	}
}

func replace(re *regexp.Regexp, with string) func([]byte) []byte {
	return func(b []byte) []byte { return re.ReplaceAll(b, []byte(with)) }
}

// The other formats notice too.
func TestTamperedFormats(t *testing.T) {
	id := withKey(t)
	for _, c := range []struct {
		file, plain string
		change      func([]byte) []byte
		want        string
	}{
		{"a.json", `{"a": "plaintext-a", "b_unencrypted": "clear-b"}`, replace(regexp.MustCompile("clear-b"), "clear-c"), "its MAC does not match"},
		{"a.json", `{"a": "plaintext-a"}`, func(b []byte) []byte { return b[:len(b)/2] }, "no whole JSON file"},
		{"a.json", `{"a": "plaintext-a"}`, func(b []byte) []byte { return append(b, "plaintext-tail"...) }, "no whole JSON file"},
		{"a.json", `{"a": "plaintext-a"}`, func([]byte) []byte { return []byte(`["plaintext-a"]`) }, "no whole JSON file"},
		{"a.json", `{"a": "plaintext-a"}`, func([]byte) []byte { return []byte(strings.Repeat("[", 4<<20)) }, "no whole JSON file"},
		{"a.env", "A=plaintext-a\n", replace(regexp.MustCompile(`A=ENC.*`), "A=plaintext-by-hand"), "should be encrypted is not"},
		{"a.env", "A=plaintext-a\n", func(b []byte) []byte { return append([]byte("plaintext-by-hand\n"), b...) }, "no whole dotenv file"},
		{"a.env", "A=plaintext-a\n", func([]byte) []byte { return []byte("sops_x" + strings.Repeat("__map_", 2<<20) + "=1\n") }, "no whole dotenv file"},
		{"a.ini", "[s]\na = plaintext-a\n", replace(regexp.MustCompile(`(?m)^a\s*= .*$`), "a = plaintext-by-hand"), "should be encrypted is not"},
		{"a.ini", "[s]\na = plaintext-a\n", func([]byte) []byte { return []byte("[s\nplaintext-by-hand") }, "no whole INI file"},
		{"a.bin", "plaintext-a", replace(regexp.MustCompile(`data:[^,]{4}`), "data:AAAA"), "a value in it does not decrypt"},
		{"a.bin", "plaintext-a", func([]byte) []byte { return []byte("plaintext-a") }, "is not encrypted by sops"},
	} {
		t.Run(c.file+" "+c.want, func(t *testing.T) {
			root := t.TempDir()
			whole := seal(t, c.file, c.plain, id.Recipient().String()).Bytes(t)
			data := c.change(bytes.Clone(whole))
			if bytes.Equal(data, whole) {
				t.Fatalf("nothing was changed in:\n%s", whole)
			}
			write(t, filepath.Join(root, c.file), data)
			_, err := open(t, root, c.file)
			checkError(t, err, c.want, c.file)
			checkQuiet(t, err, "plaintext-", "clear-")
		})
	}
}

// A file for a cloud's key with a part missing makes the library panic, not us.
func TestLibraryPanics(t *testing.T) {
	lonely(t)
	root := t.TempDir()
	data, err := json.Marshal(map[string]any{"a": "x", "sops": map[string]any{
		"kms":          []any{map[string]any{"arn": "arn:aws:kms:x", "created_at": "2024-01-02T03:04:05Z", "enc": "x", "context": map[string]any{"a": nil}}},
		"lastmodified": "2024-01-02T03:04:05Z", "mac": "x", "version": "3.13.3"}})
	must(t, err)
	write(t, filepath.Join(root, "a.json"), data)
	_, err = open(t, root, "a.json")
	checkError(t, err, "no key here can decrypt a.json", "updatekeys")
	checkError(t, err, "kms (damaged)", "")
}

package http_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	module "infra/builtins/http"
	"infra/builtins/internal/calltest"
	"infra/runtime"
)

func TestSpecsAreComplete(t *testing.T) { calltest.Complete(t, module.Specs()) }

const secret = "s3cr3t-http-token"

// servers are two servers: one that answers, and another that redirects to it.
func servers(t *testing.T) (answering, redirecting *httptest.Server, seen *http.Header) {
	seen = new(http.Header)
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		*seen = r.Header
		w.Header().Add("X-Many", "a")
		w.Header().Add("X-Many", "b")
		fmt.Fprint(w, `{"n": 1}`)
	})
	mux.HandleFunc("/hop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/bad", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no such thing", http.StatusNotFound) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/big", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, strings.Repeat("x", 8<<20+1)) })
	answering = httptest.NewServer(mux)
	t.Cleanup(answering.Close)
	redirecting = httptest.NewServer(http.RedirectHandler(answering.URL+"/ok", http.StatusFound))
	t.Cleanup(redirecting.Close)
	return answering, redirecting, seen
}

func run(t *testing.T, url, code string) (*calltest.Door, starlark.StringDict, error) {
	t.Helper()
	d := &calltest.Door{DryRun: true, Names: starlark.StringDict{"url": starlark.String(url), "token": runtime.NewSecret("token", secret)}}
	globals, err := d.Run(t, module.Specs(), code)
	return d, globals, err
}

func TestGet(t *testing.T) {
	answering, _, _ := servers(t)
	for _, tt := range []struct{ code, want string }{
		{`x = http.get(url + "/ok").status`, `200`},
		{`x = json.decode(http.get(url + "/ok").body)["n"]`, `1`},
		{`x = http.get(url + "/ok").headers["x-many"]`, `"a, b"`},
		{`x = http.get(url + "/hop").status`, `200`},
		{`x = http.get(url + "/bad", check = False).status`, `404`},
	} {
		_, globals, err := run(t, answering.URL, tt.code)
		if err != nil {
			t.Errorf("%s: %v", tt.code, err)
		} else if got := globals["x"].String(); got != tt.want {
			t.Errorf("%s = %s, want %s", tt.code, got, tt.want)
		}
	}
}

func TestOps(t *testing.T) {
	answering, _, _ := servers(t)
	for _, tt := range []struct{ code, op string }{
		{`http.get(url + "/ok")`, `read http.get here | URL/ok | {"check":true,"headers":[],"url":"URL/ok"}`},
		{`http.get(url + "/ok", headers = {"X-Key": token, "Accept": "a/b"}, timeout = "5s", check = False)`,
			`read http.get here | URL/ok | {"check":false,"headers":["accept","x-key"],"url":"URL/ok"}`},
	} {
		d, _, err := run(t, answering.URL, tt.code)
		if err != nil {
			t.Fatal(err)
		}
		// What it observes is beyond this machine, and nothing here alters it.
		if op := d.Ops[0]; op.Looks == nil || len(op.Looks) > 0 || op.Alters == nil || len(op.Alters) > 0 || !op.Beyond {
			t.Errorf("%s looks at %q, alters %q, beyond %v", tt.code, op.Looks, op.Alters, op.Beyond)
		}
		if got := strings.ReplaceAll(d.Last(t), answering.URL, "URL"); got != tt.op {
			t.Errorf("%s\n got %s\nwant %s", tt.code, got, tt.op)
		}
	}
}

func TestErrors(t *testing.T) {
	answering, _, _ := servers(t)
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, tt := range []struct{ url, code, want string }{
		{answering.URL, `http.get(url + "/bad")`, "404 Not Found\nno such thing"},
		{answering.URL, `http.get(url + "/loop")`, "redirected 10 times"},
		{answering.URL, `http.get(url + "/slow", timeout = "20ms")`, "ended after its timeout of 20ms"},
		{answering.URL, `http.get(url + "/big")`, "more than the 8 MiB"},
		{answering.URL, `http.get(url + "/ok", headers = {"X-Key": token + "\nX: y"})`, `invalid header field value for "X-Key"`},
		{closed.URL, `http.get(url)`, "connection refused"},
		{"file:///etc/passwd", `http.get(url)`, "the url is not one"},
		{"http://user:%zz@host", `http.get(url)`, "the url is not one"},
	} {
		_, _, err := run(t, tt.url, tt.code)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.code, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error holds the secret", tt.code)
		}
	}
}

// TestUserinfoIsNotShown: a password in a URL is neither in the operation nor in an error.
func TestUserinfoIsNotShown(t *testing.T) {
	answering, _, seen := servers(t)
	for _, path := range []string{"/ok", "/bad"} {
		d, _, err := run(t, strings.Replace(answering.URL, "://", "://bob:hunter2@", 1), `http.get(url + "`+path+`")`)
		if line := d.Last(t); strings.Contains(line, "hunter2") || !strings.Contains(line, "http://…@127.0.0.1") {
			t.Errorf("the operation is %s", line)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error is %v", err)
		}
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	_, _, err := run(t, strings.Replace(closed.URL, "://", "://hunter2@", 1), `http.get(url)`)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error is %v", err)
	}
	if user := seen.Get("Authorization"); user == "" {
		t.Error("the server got no Authorization")
	}
}

// TestRedirectCarriesNoSecret: to the same server a secret header goes along, to another it does not.
func TestRedirectCarriesNoSecret(t *testing.T) {
	answering, redirecting, seen := servers(t)
	const code = `http.get(url, headers = {"X-Api-Key": token, "Authorization": "Bearer x", "X-Plain": "p"})`
	if _, _, err := run(t, answering.URL+"/hop", code); err != nil {
		t.Fatal(err)
	}
	if got := seen.Get("X-Api-Key"); got != secret {
		t.Errorf("on the same server X-Api-Key is %q", got)
	}
	if _, _, err := run(t, redirecting.URL, code); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"X-Api-Key": "", "Authorization": "", "Referer": "", "X-Plain": "p"} {
		if got := seen.Get(name); got != want {
			t.Errorf("on another server %s is %q, want %q", name, got, want)
		}
	}
}

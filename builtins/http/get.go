package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/command"
	"infra/runtime"
)

// bodyLimit is the largest body that a plan may hold in memory.
const bodyLimit = 8 << 20

var getSpec = call.Spec{
	Name:    "http.get",
	Effect:  runtime.Read,
	Doc:     "Fetches a URL and follows redirects; a header that is a secret is sent to the first server only. An answer of 400 or more fails the step unless check = False.",
	Returns: "http_response",
	Fields: []call.Field{
		{Name: "status", Type: "int", Doc: "the status code"},
		{Name: "body", Type: "string", Doc: "up to 8 MiB; json.decode(r.body) reads JSON"},
		{Name: "headers", Type: "dict of strings", Doc: "by name in lower case"},
	},
	Example: `answer = attempt(lambda: http.get("http://127.0.0.1:9/health", timeout = "2s"))
if answer.ok:
    log(answer.value.headers["content-type"])
`,
}

type getArgs struct {
	URL     string                  `arg:"url" doc:"what to fetch"`
	Headers map[string]runtime.Text `arg:"headers,keyword" default:"" doc:"sent along; values may be secrets"`
	Timeout time.Duration           `arg:"timeout,keyword" default:"30s" doc:"for the whole answer"`
	Check   bool                    `arg:"check,keyword" default:"True" doc:"fail when the status is 400 or more"`
}

func get(c *call.Call, a getArgs) (starlark.Value, error) {
	u, err := parse(a.URL)
	if err != nil {
		return nil, fmt.Errorf("http.get: %w", err)
	}
	r := request{a, u}
	return c.Value(runtime.Op{
		Args: runtime.Args{"url": shown(u), "headers": r.names(), "check": a.Check},
		Show: shown(u),
		// What answers may be any host.
		Looks: runtime.Nothing, Alters: runtime.Nothing, Beyond: true,
		Run: func(ctx context.Context, _ io.Writer) (runtime.Result, error) { return r.run(ctx) },
	})
}

// parse does not pass on url.Parse's error, which repeats the URL with its password.
func parse(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, runtime.WithHint(errors.New("the url is not one"), `write "https://host/path"`)
	}
	return u, nil
}

// shown is a URL without the name and password that it may hold.
func shown(u *url.URL) string {
	if u.User == nil {
		return u.String()
	}
	bare := *u
	bare.User = nil
	return strings.Replace(bare.String(), "://", "://…@", 1)
}

// request is one call of get.
type request struct {
	getArgs
	url *url.URL
}

func (r request) names() []string {
	names := []string{}
	for name := range r.Headers {
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	return names
}

func (r request) run(ctx context.Context) (runtime.Result, error) {
	var res *http.Response
	var body []byte
	err := command.Within(ctx, r.Timeout, func(ctx context.Context) (err error) {
		res, body, err = r.fetch(ctx)
		return err
	})
	if err != nil {
		return runtime.Result{}, fmt.Errorf("get %s: %w", shown(r.url), err)
	}
	if r.Check && res.StatusCode >= 400 {
		return runtime.Result{}, r.refused(res, body)
	}
	return runtime.Result{Value: runtime.NewRecord("http_response",
		runtime.Field{Name: "status", Value: starlark.MakeInt(res.StatusCode)},
		runtime.Field{Name: "body", Value: starlark.String(body)},
		runtime.Field{Name: "headers", Value: headers(res.Header)},
	)}, nil
}

func (r request) fetch(ctx context.Context) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url.String(), nil)
	if err != nil {
		return nil, nil, errors.New("the url is not one")
	}
	for name, value := range r.Headers {
		req.Header.Set(name, value.Reveal())
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: r.redirect}
	res, err := client.Do(req)
	if err != nil {
		return nil, nil, withoutURL(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, bodyLimit+1))
	if err != nil {
		return nil, nil, err
	}
	if len(body) > bodyLimit {
		return nil, nil, runtime.WithHint(fmt.Errorf("the answer has more than the %d MiB that a plan may hold", bodyLimit>>20),
			"fetch it into a file with local.run")
	}
	return res, body, nil
}

// withoutURL drops the URL from an error of net/http: it may hold a password,
// and the message names it already.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// redirect lets a request go to another server only without what is secret.
// net/http knows the usual headers, but not that "X-Api-Key" is one of ours,
// and it trusts subdomains.
func (r request) redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("it was redirected 10 times")
	}
	if r.sameServer(req.URL) && !slices.ContainsFunc(via, func(v *http.Request) bool { return !r.sameServer(v.URL) }) {
		return nil
	}
	for name, value := range r.Headers {
		if value.Secret() {
			req.Header.Del(name)
		}
	}
	for _, name := range []string{"Authorization", "Cookie", "Proxy-Authorization", "Referer"} {
		req.Header.Del(name)
	}
	return nil
}

func (r request) sameServer(u *url.URL) bool {
	return u.Scheme == r.url.Scheme && strings.EqualFold(u.Host, r.url.Host)
}

func (r request) refused(res *http.Response, body []byte) error {
	const quoted = 2000
	err := fmt.Errorf("get %s: %s", shown(r.url), res.Status)
	if said := command.LastLines(string(body[:min(len(body), quoted)]), 10); said != "" {
		err = fmt.Errorf("%w\n%s", err, said)
	}
	return runtime.WithHint(err, "check = False returns the answer instead of failing the step")
}

func headers(h http.Header) *starlark.Dict {
	names := []string{}
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	d := starlark.NewDict(len(names))
	for _, name := range names {
		// A new dict takes every string as a key.
		_ = d.SetKey(starlark.String(strings.ToLower(name)), starlark.String(strings.Join(h[name], ", ")))
	}
	return d
}

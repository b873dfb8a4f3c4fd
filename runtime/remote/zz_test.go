package remote
import ("testing";"time";"infra/runtime")
func TestZLatency(t *testing.T) {
	p := newServer(t).pool(t)
	must(t, p.Reach(t.Context(), target))
	for _, in := range []string{"", "hello"} {
	b := time.Now()
	for range 50 { p.Run(t.Context(), target, Command{Argv: []string{"true"}, Stdin: runtime.PlainText(in)}) }
	t.Log(time.Since(b)/50)
	}
}

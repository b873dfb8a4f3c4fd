package main

import (
	_ "embed"
	"html/template"
)

//go:embed report.html.tmpl
var storyHTML string

// storyTemplate is the page of infra report. It escapes all that it shows, by where
// that stands.
var storyTemplate = template.Must(template.New("report").Funcs(template.FuncMap{"lane": newLane}).Parse(storyHTML))

// A lane is what the template needs to draw one.
type lane struct {
	Axis  axis
	NowX  float64
	Phase *phasePage
}

func newLane(p *storyPage, ph *phasePage) lane { return lane{p.Axis, p.NowX, ph} }

// LowY is the height of a band where it begins, in percent from above.
func (b band) LowY() float64 { return 100 - b.Low }

// HighY is it where the band ends.
func (b band) HighY() float64 { return 100 - b.High }

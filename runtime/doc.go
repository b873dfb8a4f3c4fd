// Package runtime is the vocabulary of infra: what a plan, a step, a host, an
// operation, an effect, an event and a secret are. It does no I/O and starts
// no goroutine; every other package is written in its words.
//
// The way through the house is one line: a file is read into a [Plan], a plan
// is run as steps, a step asks for operations ([Op]), and every operation
// goes through one door ([Do]).
package runtime

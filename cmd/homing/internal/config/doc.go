// Package config gives the options of a command their values: from the file
// named by --config and from the environment, and says where a value that
// cannot work came from.
package config

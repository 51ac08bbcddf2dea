using System;
using System.Collections.Generic;
using System.Text;

namespace Homing.Tests
{
    /// <summary>
    /// Runs the tests and prints how many passed. `--json` reads texts instead, base64 a line, and
    /// says of each what it is: tests_test.go compares that with Go's parser.
    /// </summary>
    static class Program
    {
        static readonly List<KeyValuePair<string, Action>> tests = new List<KeyValuePair<string, Action>>();

        internal static void Add(string name, Action test) { tests.Add(new KeyValuePair<string, Action>(name, test)); }

        static void Main(string[] args) { End.With(Run(args)); }

        static int Run(string[] args)
        {
            if (args.Length > 0 && args[0] == "--json") return Canonical.Serve();
            JsonTests.Register();
            WaitTests.Register();
            WireTests.Register();
            DeliveryTests.Register();
            ClientTests.Register();
            int failed = 0, run = 0;
            foreach (var test in tests)
            {
                if (args.Length > 0 && test.Key.IndexOf(args[0], StringComparison.Ordinal) < 0) continue;
                run++;
                var took = System.Diagnostics.Stopwatch.StartNew();
                try { test.Value(); }
                catch (Exception e)
                {
                    failed++;
                    Console.WriteLine("FAIL " + test.Key + ": " + e);
                }
                if (took.Elapsed.TotalSeconds > 2) Console.WriteLine("slow " + test.Key + ": " + took.Elapsed.TotalSeconds.ToString("F1") + " s");
            }
            Console.WriteLine((run - failed) + " passed, " + failed + " failed");
            return failed > 0 || run == 0 ? 1 : 0;
        }
    }

    sealed class TestException : Exception
    {
        internal TestException(string message) : base(message) { }
    }

    static class Want
    {
        internal static void Equal<T>(T want, T got, string what)
        {
            if (!EqualityComparer<T>.Default.Equals(want, got)) throw new TestException(what + ": want " + want + ", have " + got);
        }

        internal static void True(bool holds, string what)
        {
            if (!holds) throw new TestException("it does not hold: " + what);
        }

        internal static void Throws<E>(Action act, string what) where E : Exception
        {
            try { act(); }
            catch (E) { return; }
            throw new TestException(what + ": want " + typeof(E).Name);
        }
    }

    /// <summary>What a JSON text is, in a form that Go can make of it, too.</summary>
    static class Canonical
    {
        internal static int Serve()
        {
            for (string line = Console.In.ReadLine(); line != null; line = Console.In.ReadLine())
            {
                string text = Encoding.UTF8.GetString(Convert.FromBase64String(line));
                try
                {
                    var s = new StringBuilder();
                    Write(s, JsonValue.Parse(text));
                    Console.Out.WriteLine(s);
                }
                catch (JsonException) { Console.Out.WriteLine("bad"); }
            }
            return 0;
        }

        static void Write(StringBuilder s, JsonValue v)
        {
            switch (v.Kind)
            {
                case JsonKind.Null: s.Append('n'); break;
                case JsonKind.Bool: s.Append(v.AsBool() ? 't' : 'f'); break;
                case JsonKind.Number: s.Append(Number(v.AsDouble())); break;
                case JsonKind.String: Quote(s, v.AsString()); break;
                case JsonKind.Array:
                    s.Append('[');
                    foreach (var item in v.Items()) { Write(s, item); s.Append(','); }
                    s.Append(']');
                    break;
                default:
                    s.Append('{');
                    foreach (var m in v.Members()) { Quote(s, m.Key); s.Append(':'); Write(s, m.Value); s.Append(','); }
                    s.Append('}');
                    break;
            }
        }

        static string Number(double d)
        {
            if (double.IsInfinity(d)) return d > 0 ? "inf" : "-inf";
            return "#" + BitConverter.DoubleToInt64Bits(d).ToString("x");
        }

        /// <summary>UTF-16 in hexadecimal; half pairs as Go has them.</summary>
        static void Quote(StringBuilder s, string text)
        {
            s.Append('"');
            for (int i = 0; i < text.Length; i++)
            {
                bool pair = char.IsHighSurrogate(text[i]) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]);
                if (pair) s.Append(((int)text[i++]).ToString("x4"));
                s.Append(pair || !char.IsSurrogate(text[i]) ? ((int)text[i]).ToString("x4") : "fffd");
            }
            s.Append('"');
        }
    }
}

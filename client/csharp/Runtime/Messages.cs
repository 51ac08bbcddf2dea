using System;
using System.Collections.Generic;

namespace Homing
{
    /// <summary>The first thing a server says: what is sent to the user from now on reaches this client.</summary>
    public sealed class Hello
    {
        public readonly string User, Conn;
        /// <summary>The server keeps notifications: a client may resume.</summary>
        public readonly bool Resume;
        /// <summary>After how much silence the server gives a sign of life; zero when it does not say.</summary>
        public readonly TimeSpan Ping;

        internal Hello(JsonValue m)
        {
            User = m.StringOf("user");
            Conn = m.StringOf("conn");
            var resume = m["resume"];
            Resume = resume != null && resume.Kind == JsonKind.Bool && resume.AsBool(); // anything but true: it may not
            Ping = Wire.Millis(m.DoubleOf("ping"));
        }
    }

    /// <summary>One message for the user.</summary>
    public sealed class Notification
    {
        /// <summary>The same on every delivery of the same notification.</summary>
        public readonly string Id;
        /// <summary>The application's kind of event; may be empty.</summary>
        public readonly string Type;
        /// <summary>The service that speaks; may be empty.</summary>
        public readonly string From;
        /// <summary>What was sent, unchanged; null when there was nothing.</summary>
        public readonly JsonValue Data;
        /// <summary>The topics it was sent to.</summary>
        public readonly IList<string> Topics;
        /// <summary>The player that published it; empty: a backend did.</summary>
        public readonly string User;
        /// <summary>The server's inbox keeps it for a while.</summary>
        public readonly bool Stored;
        /// <summary>A topic keeps it.</summary>
        public readonly bool Kept;
        /// <summary>It comes again until it is acknowledged, which the client does once it was dealt with.</summary>
        public readonly bool Ack;

        internal int Weight { get { return Id.Length + (Data == null ? 0 : Data.Length); } }

        internal Notification(JsonValue m)
        {
            Id = Wire.Id(m.StringOf("id"));
            Type = m.StringOf("type");
            From = m.StringOf("from");
            Data = m["data"];
            Topics = m.StringsOf("topics").AsReadOnly();
            User = m.StringOf("user");
            Stored = m.BoolOf("stored");
            Kept = m.BoolOf("kept");
            Ack = m.BoolOf("ack");
        }
    }

    /// <summary>The answer to a client that asked for what it missed.</summary>
    public sealed class Resumed
    {
        /// <summary>
        /// Nothing is missing that was stored since. Else some is gone for good: ask the game's
        /// backend how things stand.
        /// </summary>
        public readonly bool Recovered;
        /// <summary>How many notifications follow.</summary>
        public readonly long Count;
        internal readonly string Last; // where to go on from next time
        /// <summary>The topic, or empty when it was the user's inbox.</summary>
        public readonly string Topic;

        internal Resumed(JsonValue m, string topic)
        {
            Recovered = m.BoolOf("recovered");
            Count = Math.Max(0, m.LongOf("count"));
            Last = Wire.Id(m.StringOf("last"));
            Topic = topic;
        }
    }

    /// <summary>What is read off the wire, and how much of it is believed.</summary>
    static class Wire
    {
        internal const string Protocol = "homing.v1";
        internal const string Bearer = "bearer.";
        const int maxId = 256; // far above what a server writes
        static readonly TimeSpan longestSpan = TimeSpan.FromDays(365);

        internal static string Id(string id)
        {
            if (id.Length > maxId) throw new JsonException("an id of " + id.Length + " characters");
            return id;
        }

        /// <summary>A span in milliseconds; negative is none, and what is too large is cut.</summary>
        internal static TimeSpan Millis(double ms)
        {
            if (!(ms > 0)) return TimeSpan.Zero;
            return ms >= longestSpan.TotalMilliseconds ? longestSpan : TimeSpan.FromTicks((long)(ms * TimeSpan.TicksPerMillisecond));
        }
    }

    /// <summary>A server's refusal of a request, or a request that cannot be answered any more.</summary>
    public sealed class RequestException : Exception
    {
        /// <summary>
        /// The server's code, not_allowed for example, or one of the client's own: "lost" (the
        /// connection ended before the answer), "timeout", "full" (too many wait), "closed" (the
        /// client has left).
        /// </summary>
        public readonly string Code;
        /// <summary>What was asked, publish for example.</summary>
        public readonly string Of;

        internal RequestException(string of, string code) : base(of + ": " + code)
        {
            Of = of;
            Code = code;
        }
    }
}

using System;
using System.Collections.Generic;
using System.Text;

namespace Homing
{
    /// <summary>Something that happened in a room.</summary>
    public struct RoomEvent
    {
        /// <summary>It grows, and no more than that.</summary>
        public readonly long N;
        /// <summary>The member that said it; empty: the room.</summary>
        public readonly string From;
        /// <summary>What was said; null in binary rooms.</summary>
        public readonly JsonValue Data;
        /// <summary>The same in binary rooms; else null.</summary>
        public readonly byte[] Bytes;

        internal RoomEvent(long n, string from, JsonValue data, byte[] bytes)
        {
            N = n;
            From = from;
            Data = data;
            Bytes = bytes;
        }
    }

    /// <summary>What a room tells a member of one tick.</summary>
    public sealed class Frame
    {
        /// <summary>It may jump, and after a crash be lower than it was.</summary>
        public readonly long Tick;
        /// <summary>
        /// In the first frame of each connection only: false says that events are missing that the
        /// room has forgotten. The state of that frame is all there is.
        /// </summary>
        public readonly bool? Recovered;
        /// <summary>Those that the client has not had, in order.</summary>
        public readonly List<RoomEvent> Events = new List<RoomEvent>();
        /// <summary>The values that have changed; the JSON null for those that are gone.</summary>
        public readonly Dictionary<string, JsonValue> State = new Dictionary<string, JsonValue>();
        /// <summary>The same of binary rooms; null for those that are gone.</summary>
        public readonly Dictionary<string, byte[]> Bytes = new Dictionary<string, byte[]>();

        Frame(long tick, bool? recovered)
        {
            Tick = tick;
            Recovered = recovered;
        }

        internal static Frame OfJson(JsonValue m)
        {
            var recovered = m["recovered"];
            var f = new Frame(m.LongOf("tick"), recovered == null || recovered.IsNull ? (bool?)null : recovered.AsBool());
            var events = m["events"];
            if (events != null)
                foreach (var e in events.Items()) f.Events.Add(new RoomEvent(e.LongOf("n"), e.StringOf("from"), e["data"], null));
            var state = m["state"];
            if (state != null)
                foreach (var s in state.Members()) f.State[s.Key] = s.Value;
            return f;
        }

        /// <summary>Reads a frame of a binary room (docs/protocol.md, "Binary rooms"). Throws JsonException.</summary>
        internal static Frame OfBytes(byte[] bytes)
        {
            var r = new Reader(bytes);
            long tick = r.Number();
            int recovered = r.Byte();
            if (recovered > 2) throw Reader.Wrong();
            var f = new Frame(tick, recovered == 2 ? (bool?)null : recovered == 1);
            for (long n = r.Number(); n > 0; n--)
            {
                long number = r.Number();
                string from = r.Text();
                f.Events.Add(new RoomEvent(number, from, null, r.Bytes()));
            }
            for (long n = r.Number(); n > 0; n--)
            {
                string key = r.Text();
                bool there = r.Byte() == 1;
                var data = r.Bytes();
                f.Bytes[key] = there ? data : null;
            }
            if (!r.AtEnd) throw Reader.Wrong();
            return f;
        }

        sealed class Reader
        {
            readonly byte[] all;
            int at;

            internal Reader(byte[] all) { this.all = all; }

            internal static JsonException Wrong() { return new JsonException("a binary message that is no frame"); }

            internal bool AtEnd { get { return at == all.Length; } }

            internal int Byte()
            {
                if (at >= all.Length) throw Wrong();
                return all[at++];
            }

            /// <summary>An unsigned number, seven bits a byte, the lowest first.</summary>
            internal long Number()
            {
                long n = 0;
                for (int shift = 0; shift < 63; shift += 7)
                {
                    int b = Byte();
                    n |= (long)(b & 0x7f) << shift;
                    if (b < 0x80) return n;
                }
                throw Wrong();
            }

            internal byte[] Bytes()
            {
                long n = Number();
                if (n > all.Length - at) throw Wrong();
                var part = new byte[n];
                Buffer.BlockCopy(all, at, part, 0, part.Length);
                at += part.Length;
                return part;
            }

            internal string Text() { return Encoding.UTF8.GetString(Bytes()); }
        }
    }
}

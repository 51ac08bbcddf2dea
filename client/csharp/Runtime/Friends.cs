using System;
using System.Collections.Generic;

namespace Homing
{
    /// <summary>A friend who has come or gone.</summary>
    public sealed class Presence
    {
        public readonly string User;
        public readonly bool Online;
        /// <summary>Those that the friend's connections were opened from.</summary>
        public readonly IList<string> Services;

        internal Presence(string user, bool online, List<string> services)
        {
            User = user;
            Online = online;
            Services = services.AsReadOnly();
        }
    }

    /// <summary>Who of the user's friends is there, as far as the server has told.</summary>
    public sealed class Friends
    {
        readonly SortedDictionary<string, IList<string>> online = new SortedDictionary<string, IList<string>>(StringComparer.Ordinal);

        internal Friends() { }

        /// <summary>After each change, and when the server has told of all on a new connection.</summary>
        public event Action<Friends> Changed;
        /// <summary>For each who comes or goes.</summary>
        public event Action<Presence> Came;

        /// <summary>
        /// Whether the server of this connection has told who is there. Until it does, Online is
        /// what was known last.
        /// </summary>
        public bool Known { get; private set; }

        /// <summary>Those who are there, by name.</summary>
        public ICollection<string> Online { get { return new List<string>(online.Keys); } }

        public bool IsOnline(string user) { return online.ContainsKey(user); }

        /// <summary>Where a friend is; nothing when it is not there.</summary>
        public IList<string> ServicesOf(string user)
        {
            IList<string> services;
            return online.TryGetValue(user, out services) ? services : new string[0];
        }

        internal void OnDown() { Known = false; }

        internal void Take(string kind, JsonValue m, Action<Action> raise)
        {
            if (kind == "friends") TakeAll(m);
            else TakeOne(m, raise);
            raise(() => { if (Changed != null) Changed(this); });
        }

        void TakeAll(JsonValue m)
        {
            online.Clear();
            Known = true;
            var all = m["online"];
            if (all == null) return;
            foreach (var friend in all.Items()) online[friend.StringOf("user")] = friend.StringsOf("services").AsReadOnly();
        }

        void TakeOne(JsonValue m, Action<Action> raise)
        {
            bool there = m.BoolOf("online");
            var users = m.StringsOf("users");
            string user = m.StringOf("user");
            if (user.Length > 0) users.Add(user);
            foreach (string u in users)
            {
                var p = new Presence(u, there, m.StringsOf("services"));
                if (there) online[u] = p.Services;
                else online.Remove(u);
                raise(() => { if (Came != null) Came(p); });
            }
        }
    }
}

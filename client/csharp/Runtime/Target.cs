using System;
using System.Collections.Generic;

namespace Homing
{
    /// <summary>Addresses: which can be connected to, and where a server may send a client.</summary>
    static class Target
    {
        /// <summary>Returns the address, or null when it names no WebSocket. Never quote it: it may carry a secret.</summary>
        internal static Uri Parse(string address)
        {
            Uri url;
            if (string.IsNullOrEmpty(address) || !Uri.TryCreate(address, UriKind.Absolute, out url)) return null;
            if ((url.Scheme != "ws" && url.Scheme != "wss") || url.Host.Length == 0) return null;
            return url;
        }

        /// <summary>
        /// Where a server's wish leads a client whose own address is home: there, but for the host,
        /// and the port if one is named. With hosts it is one of them, else any. Null: nowhere.
        /// </summary>
        internal static Uri Follow(Uri home, string to, ICollection<string> hosts)
        {
            if (to.IndexOfAny(notInHost) >= 0) return null;
            var named = Parse(home.Scheme + "://" + to + "/");
            if (named == null) return null;
            int colon = to.LastIndexOf(':');
            bool hasPort = colon > to.LastIndexOf(']') && colon >= 0;
            var url = new UriBuilder(home) { Host = named.Host, Port = hasPort ? named.Port : home.Port }.Uri;
            if (hosts.Count == 0) return url;
            foreach (string host in hosts)
            {
                string h = host.ToLowerInvariant();
                if (h == url.Host.ToLowerInvariant() || h == HostPort(url)) return url;
            }
            return null;
        }

        static readonly char[] notInHost = { '/', '?', '#', '@', '\\', '%', ' ' };

        static string HostPort(Uri url)
        {
            int port = url.Port > 0 ? url.Port : url.Scheme == "wss" ? 443 : 80;
            return url.Host.ToLowerInvariant() + ":" + port;
        }

        /// <summary>The address with a room's ticket in its query.</summary>
        internal static string WithRoom(string address, string ticket)
        {
            int hash = address.IndexOf('#');
            if (hash >= 0) address = address.Substring(0, hash);
            return address + (address.IndexOf('?') < 0 ? "?" : "&") + "room=" + Uri.EscapeDataString(ticket);
        }
    }
}
